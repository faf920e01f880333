import { setMaxListeners } from 'node:events'
import { onTestFinished } from 'vitest'
import { silentLog } from '../../src/parts/log.js'
import { makeUpstream, type UpstreamOptions } from '../../src/upstream/make-upstream.js'
import type { Listing, Upstream } from '../../src/upstream/upstream.js'

/** A signal that does not abort, however many wait for it. */
export const never = new AbortController().signal
setMaxListeners(0, never)

/** Closes what is started here when the test has finished. */
export async function started<Server extends { close(): Promise<void> }>(starting: Promise<Server>): Promise<Server> {
  const server = await starting
  onTestFinished(() => server.close())
  return server
}

/** What configuration would say of an upstream, with limits a test can wait for. */
export function upstreamOptions(
  type: UpstreamOptions['type'],
  url: string | URL,
  options: Partial<UpstreamOptions> = {},
): UpstreamOptions {
  return {
    name: 'upstream',
    type,
    url: new URL(url),
    include: [],
    exclude: [],
    insecure: false,
    timeouts: { connectMs: 5_000, headersMs: 5_000, stallMs: 5_000 },
    fileHosts: [],
    connections: 4,
    allowMissingDigest: false,
    limits: { listBytes: 64 * 1024 * 1024 },
    environment: {},
    log: silentLog,
    version: '0.0.1',
    ...options,
  }
}

/** An upstream as configuration would make it. */
export function upstreamAt(
  type: UpstreamOptions['type'],
  url: string,
  options: Partial<UpstreamOptions> = {},
): Upstream {
  const upstream = makeUpstream(upstreamOptions(type, url, options))
  onTestFinished(() => upstream.close())
  return upstream
}

/** The whole list, which must not be `unchanged`. */
export async function listOf(upstream: Upstream, validator?: string): Promise<Listing> {
  const listing = await upstream.listImages({ validator, signal: never })
  if (listing === 'unchanged') throw new Error('the list is unchanged')
  return listing
}

export function uuidsOf(listing: Listing): string[] {
  return listing.statements.map(({ manifest }) => manifest.uuid).sort()
}
