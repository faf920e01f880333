import { posix } from 'node:path'
import { MirrorError } from '../errors.js'
import { brief, isJsonObject, type JsonObject } from '../parts/json-object.js'
import { DIGEST_ALGORITHMS, type Digest, parseDigest } from './digest.js'
import type { Compression } from './manifest.js'
import { COMPRESSIONS } from './validate-manifest.js'
import type { WireFile } from './wire-manifest.js'

/** IMGAPI allows one file (two for lxd), dsapid any number; imgadm takes the first. Nobody means more than this. */
const MAX_FILES = 16
/** Longest path or url of a file that is kept. */
const MAX_WHEREABOUTS_LENGTH = 4096
const MAX_DATASET_GUID_LENGTH = 128

const COMPRESSION_BY_SUFFIX = new Map<string, Compression>([
  ['.gz', 'gzip'],
  ['.bz2', 'bzip2'],
  ['.bz', 'bzip2'],
  ['.xz', 'xz'],
])

export interface ParsedFile {
  readonly wire: WireFile
  readonly digests: readonly Digest[]
  /** JSON text of `{path?, url?}`, or `undefined` when the file had neither. */
  readonly whereabouts: string | undefined
}

/**
 * The `files` of a v1 or v2 manifest. A wrong file is worse than none: imgadm crashes on a size that is no number and on
 * a compression it does not know, so whatever cannot be made right is refused.
 *
 * @param implied what the first file must be if it declares no digest of its own: a Docker layer's is in its tags.
 * @throws MirrorError MANIFEST_INVALID
 */
export function parseFiles(files: unknown, allowMissingDigest: boolean, implied?: Digest): ParsedFile[] {
  if (files === undefined) return []
  if (!Array.isArray(files)) throw refusal(`files is not an array: ${brief(files)}`)
  if (files.length > MAX_FILES) throw refusal(`files has ${files.length} entries, more than ${MAX_FILES}`)
  return files.map((file, index) =>
    parseFile(file, `files[${index}]`, allowMissingDigest, index === 0 ? implied : undefined),
  )
}

function parseFile(file: unknown, name: string, allowMissingDigest: boolean, implied?: Digest): ParsedFile {
  if (!isJsonObject(file)) throw refusal(`${name} is not an object: ${brief(file)}`)
  const declared = DIGEST_ALGORITHMS.flatMap((algorithm): Digest[] => {
    const hex = file[algorithm]
    if (isAbsent(hex)) return []
    const digest = parseDigest(algorithm, hex)
    if (!digest) throw refusal(`${name}.${algorithm} is not a ${algorithm} digest in hex: ${brief(hex)}`)
    return [digest]
  })
  const digests = declared.length === 0 && implied ? [implied] : declared
  if (digests.length === 0 && !allowMissingDigest) {
    throw refusal(`${name} has no sha1 or other digest, so its bytes cannot be verified`)
  }
  const guid = file.dataset_guid
  return {
    wire: {
      sha1: digests.find(({ algorithm }) => algorithm === 'sha1')?.hex,
      size: parseSizeBytes(file.size, name),
      compression: parseCompression(file, name),
      dataset_guid: typeof guid === 'string' && guid && guid.length <= MAX_DATASET_GUID_LENGTH ? guid : undefined,
    },
    digests,
    whereabouts: whereaboutsOf(file),
  }
}

function parseSizeBytes(size: unknown, name: string): number {
  const sizeBytes = typeof size === 'string' && /^\d{1,16}$/.test(size) ? Number(size) : size
  if (Number.isSafeInteger(sizeBytes) && Number(sizeBytes) > 0) return Number(sizeBytes)
  throw refusal(`${name}.size is not a positive whole number of bytes: ${isAbsent(size) ? 'missing' : brief(size)}`)
}

function parseCompression(file: JsonObject, name: string): Compression {
  const { compression } = file
  if (isAbsent(compression)) {
    const path = file.path || file.url
    return (typeof path === 'string' && COMPRESSION_BY_SUFFIX.get(posix.extname(path).toLowerCase())) || 'none'
  }
  const known = COMPRESSIONS.find((each) => typeof compression === 'string' && each === compression.toLowerCase())
  if (known) return known
  throw refusal(`${name}.compression is none of ${COMPRESSIONS.join(', ')}: ${brief(compression)}`)
}

function whereaboutsOf(file: JsonObject): string | undefined {
  const isUsable = (text: unknown) => typeof text === 'string' && text !== '' && text.length <= MAX_WHEREABOUTS_LENGTH
  const path = isUsable(file.path) ? file.path : undefined
  const url = isUsable(file.url) ? file.url : undefined
  return path === undefined && url === undefined ? undefined : JSON.stringify({ path, url })
}

/** dsapid writes what it does not know as an empty text. */
function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === ''
}

function refusal(message: string): MirrorError {
  return new MirrorError('MANIFEST_INVALID', message)
}
