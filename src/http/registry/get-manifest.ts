import type { Repository, ServedObject } from '../../mirror/registry.js'
import { isAnsweredByConditions } from '../conditions.js'
import type { Context } from '../every-request.js'
import { acceptedTypes } from './accepted-types.js'

/**
 * A manifest or an index, byte for byte as its registry sent it: its digest depends on every blank, so it is never
 * compressed either. What a tag means may change with the next request; what a digest means never does.
 */
export async function getManifest(context: Context, repository: Repository, reference: string): Promise<void> {
  const served = await repository.manifest(reference, acceptedTypes(context.req.headers.accept), {
    isHead: context.method === 'HEAD',
    signal: context.state.departed,
  })
  // What a user may see is not for those who share a cache with them.
  const whose = context.state.principal === undefined ? 'public' : 'private'
  context.set({
    'Docker-Content-Digest': served.digest,
    'Cache-Control': reference.includes(':') ? `${whose}, max-age=31536000, immutable, no-transform` : 'no-cache',
    Vary: 'Accept',
  })
  sayHowStale(context, served)
  if (isAnsweredByConditions(context, { tag: served.digest })) return
  context.status = 200
  context.set('Content-Type', served.mediaType)
  if (context.method === 'HEAD') context.length = served.sizeBytes
  else context.body = await served.read()
}

/** RFC 9111 has dropped `Warning`, RFC 7234 still says what it means, and people read it. `Age` says since when. */
function sayHowStale(context: Context, { staleSinceMs }: ServedObject): void {
  if (staleSinceMs === undefined) return
  context.set({
    Warning: '110 - "the registry cannot be asked: this is what the tag meant when it was seen last"',
    Age: String(Math.max(0, Math.floor((Date.now() - staleSinceMs) / 1000))),
  })
}
