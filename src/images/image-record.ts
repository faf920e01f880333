import { isJsonObject, type JsonObject } from '../parts/json-object.js'
import { type Digest, parseDigest } from './digest.js'
import type { ImageState, Manifest } from './manifest.js'
import { serializeManifest } from './serialize-manifest.js'
import { looseBoolean } from './validate-manifest.js'
import { makeManifest, type WireFile, type WireManifest } from './wire-manifest.js'

/**
 * An image of our own under the names of the wire, complete: also `activated`, which no client is told, and a `state` that an
 * operator may have set by hand. Plain JSON that has passed `validateManifest`.
 */
export type ImageRecord = JsonObject & { readonly files?: readonly WireFile[] }

/**
 * The manifest that clients are told of a record.
 *
 * Its text says the state that was recorded, its `state`, by which images are listed, what the flags say: an operator may
 * call an image active, but nothing half-made is ever listed for that (sdc-imgapi, lib/images.js, filters lists by the flags too).
 */
export function manifestOfRecord(record: ImageRecord): Manifest {
  const files = record.files ?? []
  const wire = { ...record, v: Number(record.v), name: String(record.name), version: String(record.version), files }
  const manifest = makeManifest(wire as unknown as WireManifest, files.map(digestsOf), serializeManifest(wire as never))
  return { ...manifest, state: stateOf(record) }
}

/** The state that the flags alone give. */
export function stateByFlags({ activated, disabled }: JsonObject): ImageState {
  if (!looseBoolean(activated)) return 'unactivated'
  return looseBoolean(disabled) ? 'disabled' : 'active'
}

export function isActivated({ activated }: JsonObject): boolean {
  return looseBoolean(activated) === true
}

/** Whether this is a record as `manifestOfRecord` needs it: for what is read back from a disk. */
export function isImageRecord(value: unknown): value is ImageRecord {
  if (!isJsonObject(value) || typeof value.uuid !== 'string' || typeof value.owner !== 'string') return false
  const { files = [] } = value
  return Array.isArray(files) && files.every((file) => isJsonObject(file) && typeof file.size === 'number')
}

function stateOf(record: ImageRecord): ImageState {
  const { state } = record
  if (!isActivated(record) && (state === 'creating' || state === 'failed')) return state
  return stateByFlags(record)
}

function digestsOf({ sha1 }: WireFile): readonly Digest[] {
  const digest = parseDigest('sha1', sha1)
  return digest ? [digest] : []
}
