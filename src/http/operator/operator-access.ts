import { timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type Koa from 'koa'
import type { Operator } from '../../mirror/operations/operations.js'
import { hashToken } from '../../parts/access-token.js'
import { AddressSet } from '../../parts/address-set.js'
import { Refusal } from '../answers.js'
import type { Context, RequestState } from '../every-request.js'

/** Who may use the operator API, and change anything. */
export interface OperatorAccess {
  /** Of the token that lets its bearer in; `undefined` for none. */
  readonly tokenHash: Buffer | undefined
  /** Whether the listener asks for certificates of operators. Who has one of a right authority is let in. */
  readonly takesCertificates: boolean
  /** Whether whoever reaches us by loopback or a unix socket is let in without any. */
  readonly isOpenLocally: boolean
  /** Whether health, status and metrics are for everybody. */
  readonly areProbesOpen: boolean
}

export const LOCAL_ONLY: OperatorAccess = {
  tokenHash: undefined,
  takesCertificates: false,
  isOpenLocally: true,
  areProbesOpen: true,
}

const LOOPBACK = new AddressSet(['127.0.0.0/8', '::1', 'unix'])
/** Names that lead to this machine wherever they are looked up; any other may be made to, by whoever owns it. */
const LOCAL_HOST = /^(?:(?:[^.:]+\.)*localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i
/** What proxies say of whom they speak for. */
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'via'] as const
/** A name that people give themselves: printable, and short enough for a log line. */
const NAME = /^[\x21-\x7e][\x20-\x7e]{0,63}$/

const known = new WeakMap<object, Operator>()

/** Lets operators pass and refuses everybody else, before anything is looked up. Probes pass where they are open. */
export function operatorAccess(access: OperatorAccess): Koa.Middleware<RequestState> {
  return async (context, next) => {
    const { method, path } = context
    const isReading = method === 'GET' || method === 'HEAD'
    const isProbe = isReading && path !== '/api' && !path.startsWith('/api/')
    if (!isProbe || !access.areProbesOpen) known.set(context.req, admit(context, access))
    await next()
  }
}

/** Who asks; of a request that was let in. */
export function operatorOf(context: Context): Operator {
  const operator = known.get(context.req)
  if (!operator) throw new Error('asked for the operator of a request that was not looked at')
  return operator
}

/** @throws Refusal 401, 403. */
function admit(context: Context, access: OperatorAccess): Operator {
  const { headers, socket } = context.req
  const isLocal = isFromHere(socket)
  const called = headers['x-operator']
  const alias = typeof called === 'string' && NAME.test(called) ? called : undefined

  const token = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]
  if (token !== undefined) {
    // A page of another site cannot know it: whoever sends it, means it.
    if (access.tokenHash && timingSafeEqual(hashToken(token), access.tokenHash)) {
      return { name: alias ?? 'the bearer of the token', isLocal }
    }
    throw unauthorized('this is not the token of operatorAccess.tokenFile')
  }
  const certified = access.takesCertificates ? certifiedName(socket) : undefined
  if (certified === undefined && !(isLocal && access.isOpenLocally)) {
    throw unauthorized(
      access.isOpenLocally
        ? 'this is open by loopback and unix sockets only; from elsewhere it takes the token, or a certificate, that operatorAccess in the config names'
        : 'this takes the token, or a certificate, that operatorAccess in the config names',
    )
  }
  refuseOtherSites(context)
  if (certified !== undefined) return { name: certified, isLocal }
  const proxied = FORWARDED.find((name) => headers[name] !== undefined)
  if (proxied) throw unauthorized(`${proxied} says that this comes through a proxy: from elsewhere it takes a token`)
  // A name that its owner points at this machine, to have browsers on it speak to us.
  if (socket.remoteAddress !== undefined && !LOCAL_HOST.test(headers.host ?? '')) {
    throw new Refusal(403, 'ForbiddenError', 'Host is not localhost, 127.0.0.1 or [::1], as it is on this machine')
  }
  return { name: alias ?? 'somebody on this machine', isLocal }
}

/** Browsers say from which site a script or a form comes; a page that was made elsewhere has no business here. */
function refuseOtherSites({ req: { headers } }: Context): void {
  const { origin, host } = headers
  const site = headers['sec-fetch-site']
  const isForeign = origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`
  if (isForeign || (site !== undefined && site !== 'same-origin' && site !== 'none')) {
    throw new Refusal(403, 'ForbiddenError', 'pages of other sites may not ask this')
  }
}

function isFromHere({ localAddress, remoteAddress, destroyed }: Socket): boolean {
  // A connection that is gone tells no address, as a unix socket does.
  return !destroyed && LOOPBACK.has(remoteAddress) && LOOPBACK.has(localAddress)
}

/** `undefined` for whoever has no certificate, or not one of ours. */
function certifiedName(socket: Socket): string | undefined {
  const secure = socket as Partial<TLSSocket>
  if (!secure.authorized) return undefined
  const name = secure.getPeerCertificate?.().subject?.CN
  return (Array.isArray(name) ? name[0] : name) || 'the holder of a certificate'
}

function unauthorized(message: string): Refusal {
  return new Refusal(401, 'UnauthorizedError', message, { headers: { 'WWW-Authenticate': 'Bearer' } })
}
