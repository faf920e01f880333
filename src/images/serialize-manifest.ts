import { createHash } from 'node:crypto'
import type { Manifest } from './manifest.js'
import type { WireFile, WireManifest } from './wire-manifest.js'

/** What is always there, in IMGAPI's order, then what is there if it says something. */
const ALWAYS = ['v', 'uuid', 'owner', 'name', 'version', 'state', 'disabled', 'public'] as const
const SOMETIMES = [
  'acl',
  'description',
  'homepage',
  'eula',
  'icon',
  'urn',
  'requirements',
  'users',
  'generate_passwords',
  'inherited_directories',
  'origin',
  'nic_driver',
  'disk_driver',
  'cpu_type',
  'image_size',
  'tags',
  'billing_tags',
  'traits',
] as const

/**
 * A valid v2 manifest as the compact JSON that is served. The order of the keys matters: its SHA-1 is the Etag.
 *
 * As the reference serializes (sdc-imgapi, lib/images.js, `Image.serialize`), except that `generate_passwords: false`
 * is kept (leaving it out would mean true), and that `billing_tags` and `traits` are shown in every mode: upstream has
 * already shown them to anyone.
 */
export function serializeManifest(manifest: WireManifest): string {
  const wire: Record<string, unknown> = {}
  for (const key of ALWAYS) wire[key] = manifest[key]
  if (manifest.published_at) wire.published_at = manifest.published_at
  if (manifest.type !== 'null') wire.type = manifest.type
  if (manifest.os !== 'null') wire.os = manifest.os
  wire.files = manifest.files.map(serializeFile)
  for (const key of SOMETIMES) {
    if (saysSomething(key, manifest[key])) wire[key] = manifest[key]
  }
  if (manifest.state === 'failed' && manifest.error) wire.error = manifest.error
  return JSON.stringify(wire)
}

/**
 * The JSON that a client is sent, compact. `channels` come last, and only for those who ask in version 2 of the API
 * (sdc-imgapi, lib/images.js, `Image.serialize`).
 */
export function servedJson({ json, channels }: Manifest, showsChannels: boolean): string {
  return showsChannels && channels ? `${json.slice(0, -1)},"channels":${JSON.stringify(channels)}}` : json
}

/** The Etag of a manifest: SHA-1, lower-case hex, of the JSON that is served. */
export function etagOf(manifest: Manifest, showsChannels = false): string {
  return createHash('sha1').update(servedJson(manifest, showsChannels)).digest('hex')
}

function serializeFile({ sha1, size, compression, dataset_guid }: WireFile): WireFile {
  return { sha1, size, compression, dataset_guid }
}

function saysSomething(key: (typeof SOMETIMES)[number], value: unknown): boolean {
  if (key === 'acl') return Array.isArray(value) && value.length > 0
  return key === 'generate_passwords' ? typeof value === 'boolean' : Boolean(value)
}
