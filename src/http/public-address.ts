import type { TLSSocket } from 'node:tls'
import { AddressSet } from '../parts/address-set.js'
import type { Context } from './every-request.js'

export interface PublicAddressOptions {
  /** What clients reach us by, whatever their requests say; may have a path. */
  readonly publicUrl?: URL | undefined
  /** Addresses and networks whose `X-Forwarded-Proto` and `X-Forwarded-Host` are believed. */
  readonly trustedProxies?: readonly string[] | undefined
}

/** A host and perhaps a port: what can stand between `http://` and the next slash, and nothing else. */
const HOST = /^(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i

/** Under which address a client knows us: for urls in answers that are used elsewhere than where they were read. */
export class PublicAddress {
  /** The path of the configured url, without a slash at its end: `/mirror`, or nothing. */
  readonly pathPrefix: string
  readonly #configured: string | undefined
  readonly #proxies: AddressSet

  constructor({ publicUrl, trustedProxies = [] }: PublicAddressOptions) {
    this.pathPrefix = publicUrl?.pathname.replace(/\/+$/, '') ?? ''
    this.#configured = publicUrl && publicUrl.origin + this.pathPrefix
    this.#proxies = new AddressSet(trustedProxies)
  }

  /** Such as `http://mirror:8080`, without a slash at its end; empty when the request does not say it decently. */
  of({ req }: Context): string {
    if (this.#configured !== undefined) return this.#configured
    const { socket, headers } = req
    const isTrusted = this.#proxies.has(socket.remoteAddress)
    const forwarded = (name: string) => (isTrusted ? firstOf(headers[name]) : undefined)
    const host = forwarded('x-forwarded-host') ?? headers.host
    const scheme = forwarded('x-forwarded-proto') ?? ((socket as TLSSocket).encrypted ? 'https' : 'http')
    if (host === undefined || !HOST.test(host) || !/^https?$/i.test(scheme)) return ''
    return `${scheme.toLowerCase()}://${host.toLowerCase()}`
  }
}

/** Several proxies in a row make a list; the first is the one the client spoke to. */
function firstOf(header: string | string[] | undefined): string | undefined {
  return (
    String(header ?? '')
      .split(',', 1)[0]!
      .trim() || undefined
  )
}
