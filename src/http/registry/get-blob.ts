import type { Repository } from '../../mirror/registry.js'
import { answerFile } from '../answer-file.js'
import type { Context } from '../every-request.js'

/** A layer or a config: the same bytes, from the same flights, as files of images are. */
export async function getBlob(context: Context, repository: Repository, digest: string): Promise<void> {
  const { isSpoilt, keptMs, open, sizeBytes } = await repository.blob(digest, context.state.departed)
  context.set('Docker-Content-Digest', digest)
  await answerFile(context, {
    name: `blob ${digest}`,
    sizeBytes,
    isSpoilt,
    held: keptMs === undefined ? undefined : { tag: digest, keptMs },
    open,
  })
}
