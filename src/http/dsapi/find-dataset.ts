import { MirrorError } from '../../errors.js'
import { urnOf } from '../../images/downgrade-manifest.js'
import type { Manifest } from '../../images/manifest.js'
import { parseListQuery } from '../../images/parse-list-query.js'
import { parseUuid } from '../../images/uuid.js'
import type { Viewer } from '../../images/viewer.js'
import type { Mirror } from '../../mirror/mirror.js'

/**
 * The image that a DSAPI client means by `id`: its uuid, in any state; or, of those that are listed, the one with that urn
 * (`cloud:creator:name:version`), else the newest of that name and version. `name:version`, `cloud:creator:name` and `name`
 * are understood as sdc-imgapi redirects them (imgapi.md, 4.6).
 *
 * @throws MirrorError as Mirror.getImage.
 */
export async function findDataset(
  mirror: Mirror,
  id: string,
  { creatorName, signal, viewer }: { creatorName: string; signal: AbortSignal; viewer: Viewer },
): Promise<Manifest> {
  const uuid = parseUuid(id)
  if (uuid !== undefined) return await mirror.getImage(uuid, signal)

  const words = id.split(':')
  const [name, version] = words.length <= 2 ? words : words.slice(2)
  const found = words.length <= 4 && name ? await listedAs(mirror, viewer, name, version) : []
  const manifest = found.findLast((each) => urnOf(each, creatorName) === id) ?? found.at(-1)
  if (manifest) return manifest
  throw new MirrorError('IMAGE_UNKNOWN', `image ${id.slice(0, 256)} not found`)
}

async function listedAs(
  mirror: Mirror,
  viewer: Viewer,
  name: string,
  version: string | undefined,
): Promise<readonly Manifest[]> {
  const everything = parseListQuery(new URLSearchParams(), viewer)
  const exactly = (text: string) => ({ text, isSubstring: false })
  const query = { ...everything, name: exactly(name), version: version === undefined ? undefined : exactly(version) }
  const { manifests } = await mirror.listImages(query)
  return manifests
}
