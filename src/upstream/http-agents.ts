import { X509Certificate } from 'node:crypto'
import type { LookupFunction } from 'node:net'
import { createSecureContext, rootCertificates } from 'node:tls'
import { type Dispatcher, EnvHttpProxyAgent, Pool } from 'undici'
import { MirrorError } from '../errors.js'
import type { TimeLimits } from './http-failure.js'
import { mendPausedSockets } from './mend-paused-sockets.js'
import { publicLookup } from './public-lookup.js'

mendPausedSockets()

/** How we prove who we are, and whom we believe. PEM texts. */
export interface TlsOptions {
  /** Believed instead of the well-known authorities. */
  readonly ca?: string | undefined
  /** Our own certificate and its key. */
  readonly cert?: string | undefined
  readonly key?: string | undefined
  /** Believe anybody. */
  readonly insecure: boolean
}

/** `process.env`, or what a test puts in its place. */
export type Environment = Readonly<Record<string, string | undefined>>

export interface Agents {
  /** For the upstream's own origin. */
  readonly own: Dispatcher
  /** For file hosts: they never see our certificate. */
  readonly elsewhere: Dispatcher
  /** For hosts that nobody named: their address must be public, and their certificate good, whatever `insecure` says. */
  readonly outside: Dispatcher
}

/**
 * Connections of the upstream of that name. How many there are at once is for the caller to bound.
 * @param lookup how names are looked up, where we connect ourselves; a proxy does as it likes.
 * @throws MirrorError CONFIG_INVALID for certificates or proxies that cannot be used.
 */
export function makeAgents(
  name: string,
  tls: TlsOptions,
  limits: TimeLimits,
  environment: Environment,
  lookup?: LookupFunction,
): Agents {
  checkPem(name, tls)
  const proxies = {
    // Empty, never undefined: undici would then read process.env itself. Without https_proxy it uses http_proxy for both.
    httpProxy: proxyOf(environment, 'http_proxy'),
    httpsProxy: proxyOf(environment, 'https_proxy'),
    noProxy: variableOf(environment, 'no_proxy'),
  }
  const makeAgent = (connect: object) =>
    new EnvHttpProxyAgent({
      ...proxies,
      connect,
      requestTls: connect,
      proxyTls: { timeout: limits.connectMs },
      // Plain http is asked of a proxy in the plain way: many refuse CONNECT to any port but 443.
      proxyTunnel: false,
      // A proxy that takes the connection and then says nothing must not cost undici's five minutes.
      clientFactory: (origin, options) => new Pool(origin, { ...options, headersTimeout: limits.connectMs }),
    })
  const common = { timeout: limits.connectMs, rejectUnauthorized: !tls.insecure, ...(lookup && { lookup }) }
  return {
    own: makeAgent({
      ...common,
      ...(tls.ca && { ca: tls.ca }),
      ...(tls.cert && { cert: tls.cert }),
      ...(tls.key && { key: tls.key }),
    }),
    elsewhere: makeAgent({ ...common, ...(tls.ca && { ca: [tls.ca, ...rootCertificates] }) }),
    outside: makeAgent({ timeout: limits.connectMs, lookup: publicLookup() }),
  }
}

/** undici would only find out with the first connection, and call it unreachable. */
function checkPem(name: string, { ca, cert, key }: TlsOptions): void {
  try {
    // OpenSSL passes over an authority that it cannot read; then nobody would be believed.
    if (ca !== undefined) new X509Certificate(ca)
    createSecureContext({ cert, key })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MirrorError('CONFIG_INVALID', `upstream ${name}: a certificate or its key cannot be used: ${reason}`, {
      cause,
    })
  }
}

/** Lower case wins, as with curl. */
function variableOf(environment: Environment, variable: string): string {
  return environment[variable] ?? environment[variable.toUpperCase()] ?? ''
}

function proxyOf(environment: Environment, variable: string): string {
  const value = variableOf(environment, variable)
  if (value === '') return ''
  const url = value.includes('://') ? value : `http://${value}`
  if (URL.canParse(url)) return url
  // The value itself may hold a password.
  throw new MirrorError('CONFIG_INVALID', `environment variable ${variable}: not the address of a proxy`)
}
