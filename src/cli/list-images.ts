import { parseFilter } from '../images/filter.js'
import type { ImageRow } from '../mirror/operations/image-answers.js'
import { askOrRead, type DirectoryOptions } from './ask-or-read.js'
import type { CommandSurroundings } from './command.js'
import { listAll } from './list-all.js'

/** Images that match, all of them or those that are held: from the mirror, or from its data directory when none runs. */
export async function listImages(
  { filter, isHeld }: { readonly filter: string | undefined; readonly isHeld?: true },
  options: DirectoryOptions,
  surroundings: CommandSurroundings,
): Promise<readonly ImageRow[]> {
  return await askOrRead(options, surroundings, {
    ask: (mirror) => listAll<ImageRow>(mirror, '/api/images', { filter, held: isHeld }),
    read: async ({ images }) => {
      const query = { isHeld, isPinned: undefined, marker: undefined, limit: Number.POSITIVE_INFINITY }
      const { items } = await images.list({ ...query, filter: filter === undefined ? undefined : parseFilter(filter) })
      return items
    },
  })
}
