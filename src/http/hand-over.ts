import type { IncomingMessage } from 'node:http'
import { AddressSet } from '../parts/address-set.js'

export interface HandOverOptions {
  /** Where the proxy has `blobs/` of our data directory, for itself alone: a path between two slashes, such as `/held/`. */
  readonly redirect: string | undefined
  /** Addresses and networks of proxies that are believed. */
  readonly trustedProxies: readonly string[]
}

/**
 * Whom files that are held may be handed over to: a proxy before us that can send them itself, as nginx does with
 * `X-Accel-Redirect`. It must be one that we believe, and must have said that it wants them, with every request. Anybody else
 * would get an answer without a body; and a proxy that did not find the file asks a second time without that word.
 *
 * Source: the word is that of Rack::Sendfile (rack, lib/rack/sendfile.rb), `X-Sendfile-Type: X-Accel-Redirect`.
 */
export class HandOver {
  readonly #redirect: string | undefined
  readonly #proxies: AddressSet

  constructor({ redirect, trustedProxies }: HandOverOptions) {
    this.#redirect = redirect
    this.#proxies = new AddressSet(trustedProxies)
  }

  /** Where the one who asks has held files; `undefined` for one who is to get their bytes. */
  placeFor({ headers, socket }: IncomingMessage): string | undefined {
    const isWanted = headers['x-sendfile-type']?.toString().toLowerCase() === 'x-accel-redirect'
    return isWanted && this.#proxies.has(socket.remoteAddress) ? this.#redirect : undefined
  }
}
