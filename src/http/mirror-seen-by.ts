import { isMirrorError, MirrorError } from '../errors.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import { isSeenBy, type Viewer } from '../images/viewer.js'
import type { Mirror } from '../mirror/mirror.js'

/**
 * The mirror as somebody may see it, so that no endpoint has to think of it: what is hidden from them is unknown, in the
 * same words. Lists have the viewer in their query as well, by which
 * they are kept ready.
 */
export function mirrorSeenBy(mirror: Mirror, viewer: Viewer): Mirror {
  if (viewer.seesPrivate) return mirror
  const getImage = async (uuid: Uuid, signal: AbortSignal, channel?: string): Promise<Manifest> => {
    try {
      const manifest = await mirror.getImage(uuid, signal, channel)
      if (isSeenBy(manifest, viewer)) return manifest
    } catch (error) {
      // It may be a private one.
      if (!isMirrorError(error, 'IMAGE_WITHHELD')) throw error
    }
    throw new MirrorError('IMAGE_UNKNOWN', `image ${uuid} not found`)
  }
  // Asked first, since what is said of a file would tell that there is an image.
  return {
    channels: mirror.channels,
    listImages: (query) => mirror.listImages({ ...query, viewer }),
    getImage,
    imageAtHand: (uuid) => {
      const manifest = mirror.imageAtHand(uuid)
      return manifest && isSeenBy(manifest, viewer) ? manifest : undefined
    },
    revisionAtHand: () => mirror.revisionAtHand(),
    findFile: async (uuid, fileIndex, signal, channel) => {
      await getImage(uuid, signal, channel)
      return await mirror.findFile(uuid, fileIndex, signal, channel)
    },
    getIcon: async (uuid, signal, channel) => {
      await getImage(uuid, signal, channel)
      return await mirror.getIcon(uuid, signal, channel)
    },
    getChunks: async (uuid, fileIndex, signal, channel) => {
      await getImage(uuid, signal, channel)
      return await mirror.getChunks(uuid, fileIndex, signal, channel)
    },
    status: () => mirror.status(),
  }
}
