import { subscribe } from 'node:diagnostics_channel'
import { TLSSocket } from 'node:tls'
import { LRUCache } from 'lru-cache'
import type { TlsIdentity } from './upstream.js'

/** Origins whose certificate is remembered. */
const REMEMBERED = 1_000
/** Of names in a certificate; they are written down. */
const NAME_LENGTH = 500

/** By origin, as it was when we last connected. An answer comes over a connection that is at most as old. */
const known = new LRUCache<string, TlsIdentity>({ max: REMEMBERED })

// undici tells of each connection here, also of one through a proxy, and nowhere else.
subscribe('undici:client:connected', (message) => {
  const { connectParams, socket } = message as {
    readonly connectParams: { readonly protocol: string; readonly host: string }
    readonly socket: unknown
  }
  if (!(socket instanceof TLSSocket)) return
  const identity = identityOf(socket)
  if (identity) known.set(`${connectParams.protocol}//${connectParams.host}`, identity)
})

/** Who the server at this url proved to be when we last connected to it; `undefined` without TLS. */
export function tlsIdentityOf({ origin, protocol }: URL): TlsIdentity | undefined {
  return protocol === 'https:' ? known.get(origin) : undefined
}

function identityOf(socket: TLSSocket): TlsIdentity | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) return undefined
  return {
    subject: nameOf(certificate.subject),
    issuer: nameOf(certificate.issuer),
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    validFromMs: Date.parse(certificate.validFrom),
    validToMs: Date.parse(certificate.validTo),
    isTrusted: socket.authorized,
  }
}

/** Node puts each part of a name on a line of its own. It may have none at all. */
function nameOf(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ').slice(0, NAME_LENGTH)
}
