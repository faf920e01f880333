import type { Manifest } from '../../images/manifest.js'
import { isJsonObject, type JsonObject } from '../../parts/json-object.js'

/** From this version on imgadm writes the right one. */
const MENDED_IN = [3, 7, 4]

/**
 * Before 3.7.4, `imgadm publish` wrote the platform of the machine it ran on into `requirements.min_platform` of lx images: it is
 * taken from the origin instead, or left out (sdc-imgapi, lib/images.js, IMGAPI-651).
 */
export function inheritMinPlatform(
  given: JsonObject,
  origin: Manifest | undefined,
  userAgent: string | undefined,
): JsonObject {
  const { requirements, type } = given
  if (type !== 'lx-dataset' || !isJsonObject(requirements) || !requirements.min_platform) return given
  if (!isOldImgadm(userAgent)) return given
  const { min_platform: _wrong, ...rest } = requirements
  const inherited = origin && minPlatformOf(origin)
  return { ...given, requirements: inherited ? { ...requirements, min_platform: inherited } : rest }
}

function minPlatformOf({ json }: Manifest): unknown {
  const { requirements } = JSON.parse(json) as JsonObject
  return isJsonObject(requirements) ? requirements.min_platform : undefined
}

function isOldImgadm(userAgent = ''): boolean {
  const version = /^imgadm\/(\d{1,6})\.(\d{1,6})\.(\d{1,6})/.exec(userAgent)?.slice(1).map(Number)
  if (!version) return false
  const [difference = 0] = version.map((part, index) => part - MENDED_IN[index]!).filter((each) => each !== 0)
  return difference < 0
}
