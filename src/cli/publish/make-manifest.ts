import { randomUUID } from 'node:crypto'
import { MirrorError } from '../../errors.js'
import { parseUuid, type Uuid } from '../../images/uuid.js'
import { isDeeperThan, isJsonObject, type JsonObject } from '../../parts/json-object.js'

export interface ManifestOptions {
  readonly uuid?: string | undefined
  readonly name?: string | undefined
  readonly version?: string | undefined
  readonly os?: string | undefined
  readonly type?: string | undefined
  readonly origin?: string | undefined
  readonly description?: string | undefined
  readonly homepage?: string | undefined
  readonly private?: true | undefined
}

export type NewManifest = JsonObject & { readonly uuid: Uuid }

/** Made by whoever serves the image, whatever a file from elsewhere says. */
const NOT_OURS_TO_SAY = ['state', 'disabled', 'icon', 'channels']

/**
 * The manifest to publish under: that of the file, if there is one, with what the options say instead. Whether it is
 * valid is for the server to judge.
 *
 * @throws MirrorError MANIFEST_INVALID naming what is missing, or wrong with the file.
 */
export function makeManifest(text: string | undefined, options: ManifestOptions): NewManifest {
  const given = text === undefined ? {} : parse(text)
  const { private: isPrivate, ...said } = options
  const manifest: Record<string, unknown> = { v: 2, ...given }
  for (const key of NOT_OURS_TO_SAY) delete manifest[key]
  for (const [key, value] of Object.entries(said)) if (value !== undefined) manifest[key] = value
  if (isPrivate) manifest.public = false
  manifest.uuid ??= randomUUID()
  // A SmartOS image without further word is the data of a zone; for anything else there are too many ways.
  if (manifest.os === 'smartos') manifest.type ??= 'zone-dataset'
  const missing = ['name', 'version', 'os', 'type'].filter((key) => manifest[key] === undefined)
  if (missing.length > 0) {
    const options = missing.map((key) => `--${key}`).join(', ')
    throw new MirrorError(
      'MANIFEST_INVALID',
      `the manifest lacks ${missing.join(', ')}: say ${options}, or -m a manifest`,
    )
  }
  const uuid = parseUuid(manifest.uuid)
  if (uuid === undefined) throw new MirrorError('MANIFEST_INVALID', `"${String(manifest.uuid)}" is no uuid`)
  return { ...manifest, uuid }
}

function parse(text: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new MirrorError('MANIFEST_INVALID', `the manifest is no JSON: ${(cause as Error).message}`, { cause })
  }
  if (isJsonObject(value) && !isDeeperThan(value, 32)) return value
  throw new MirrorError('MANIFEST_INVALID', 'the manifest is no JSON object')
}
