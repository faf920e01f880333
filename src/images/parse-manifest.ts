import { isMirrorError, MirrorError } from '../errors.js'
import { brief, isDeeperThan, isJsonObject, type JsonObject } from '../parts/json-object.js'
import { readChannels } from './channel-names.js'
import type { Statement } from './claim.js'
import type { Digest } from './digest.js'
import { parseRegistryDigest } from './docker/registry-digest.js'
import type { ImageState } from './manifest.js'
import { parseFiles } from './parse-files.js'
import { normalisePublishedAt } from './published-at.js'
import { repairV1 } from './repair-v1.js'
import { serializeManifest } from './serialize-manifest.js'
import { upgradeManifest } from './upgrade-manifest.js'
import { parseUuid, UNSET_OWNER, type Uuid } from './uuid.js'
import { checkField, IMAGE_STATES, looseBoolean, MANIFEST_FIELDS, type ManifestField } from './validate-manifest.js'
import { checkRequirement } from './validate-requirements.js'
import { makeManifest, type WireManifest } from './wire-manifest.js'

/** A manifest is refused when what would be served of it is longer. */
const MAX_MANIFEST_BYTES = 1024 * 1024
/** At most so many names are told of what was dropped, each cut to so many characters. */
const MAX_DROPPED = 50
const MAX_DROPPED_LENGTH = 100
/** A network's name is four levels deep, counting requirements itself. */
const MAX_REQUIREMENTS_DEPTH = 4

export interface ParseOptions {
  /** Lets files pass of which no digest is declared. Their bytes can then only be checked for their number. */
  readonly allowMissingDigest?: boolean
}

export type ParsedManifest = UsableManifest | UnusableManifest

export interface UsableManifest {
  readonly ok: true
  readonly statement: Statement
  /** Optional fields that were there but not valid, such as `homepage` or `requirements.min_ram`. */
  readonly dropped: readonly string[]
}

/** A manifest to set aside. */
export interface UnusableManifest {
  readonly ok: false
  /** `undefined` when not even that was right. */
  readonly uuid: Uuid | undefined
  readonly reason: string
}

/**
 * The one gate through which manifests enter, from networks and disks: parsed JSON in, something to trust or a reason
 * out; it never throws. Lenient with what real servers write (v1, empty owners, texts for numbers, odd dates, unknown
 * keys), strict with what leaves: what imgadm would crash on is set aside, and so is an image without what IMGAPI
 * demands. An optional field that is not valid is left out, and named in `dropped`.
 *
 * `whereabouts` are kept for files of either version: static DSAPI servers hold v2 manifests too.
 *
 * Sources: sdc-imgapi and node-imgmanifest for the rules, dsapid 0.7.2 and smartos-image-server 0.1.1 for what is
 * repaired, imgadm 3.9.5 for what it crashes on: sizes and compressions of files, and in a list a docker image without
 * the tag docker:id.
 */
export function parseManifest(value: unknown, options: ParseOptions = {}): ParsedManifest {
  try {
    return parse(value, options)
  } catch (error) {
    if (!isMirrorError(error, 'MANIFEST_INVALID')) throw error
    return { ok: false, uuid: isJsonObject(value) ? parseUuid(value.uuid) : undefined, reason: error.message }
  }
}

function parse(value: unknown, { allowMissingDigest = false }: ParseOptions): UsableManifest {
  if (!isJsonObject(value)) throw refusal(`it is not an object: ${brief(value)}`)
  const given = knownFields(value)
  const fields = versionOf(given) === 1 ? upgradeManifest(repairV1(given)) : given
  const dropped: string[] = []

  const files = parseFiles(given.files, allowMissingDigest, layerDigest(given))
  const { state, disabled } = parseState(fields, files.length > 0)
  const required = {
    v: 2 as const,
    uuid: parseUuid(fields.uuid) ?? refuse(`it has no valid uuid: ${brief(fields.uuid)}`),
    owner: parseOwner(fields.owner, dropped),
    name: parseWord('name', fields, state),
    version: parseWord('version', fields, state),
    state,
    disabled,
    public: fields.public === undefined ? true : (looseBoolean(fields.public) ?? refuseField('public', fields.public)),
    published_at: parsePublishedAt(fields.published_at, state, dropped),
    type: parseWord('type', fields, state),
    os: parseWord('os', fields, state),
    files: files.map((file) => file.wire),
    origin: fields.origin ? (parseUuid(fields.origin) ?? refuseField('origin', fields.origin)) : undefined,
  }
  if (isReady(state) && files.length === 0) throw refusal(`it is ${state} but has no file`)

  // Twice as fast as spreading both into a new object, which counts with a catalogue of 100,000.
  const wire: WireManifest = Object.assign(parseOptionals(fields, required, dropped), required)
  if (required.type === 'docker' && !hasDockerId(wire.tags)) {
    throw refusal('it is of type docker without a tag docker:id, on which imgadm avail crashes')
  }
  const json = serializeManifest(wire)
  if (Buffer.byteLength(json) > MAX_MANIFEST_BYTES) throw refusal(`it is longer than ${MAX_MANIFEST_BYTES} bytes`)
  const manifest = makeManifest(
    wire,
    files.map((file) => file.digests),
    json,
  )
  const channels = readChannels(given.channels)
  return {
    ok: true,
    statement: { manifest, whereabouts: files.map((file) => file.whereabouts), ...(channels && { channels }) },
    dropped: dropped.slice(0, MAX_DROPPED).map((name) => name.slice(0, MAX_DROPPED_LENGTH)),
  }
}

/** What only a v1 manifest has, and the upgrade reads. */
const V1_FIELDS = ['creator_uuid', 'restricted_to_uuid', 'created_at', 'updated_at']

/** Without unknown keys, which may hold anything. A null is as good as nothing. */
function knownFields(given: JsonObject): JsonObject {
  const known: Record<string, unknown> = {}
  for (const field of [...MANIFEST_FIELDS, ...V1_FIELDS]) {
    if (Object.hasOwn(given, field) && given[field] !== null) known[field] = given[field]
  }
  return known
}

function versionOf({ v }: JsonObject): 1 | 2 {
  if (!v || v === 1 || v === '1') return 1
  if (v === 2 || v === '2') return 2
  throw refusal(`its "v" is no version we know: ${brief(v)}`)
}

function parseOwner(owner: unknown, dropped: string[]): Uuid {
  const uuid = parseUuid(typeof owner === 'string' ? owner.toLowerCase() : owner)
  if (!uuid && owner) dropped.push('owner')
  return uuid ?? UNSET_OWNER
}

/** Has been activated: then it has a date and files. */
function isReady(state: ImageState): boolean {
  return state === 'active' || state === 'disabled'
}

/** The two fields tell one story: an active image that is disabled is `disabled`, and the other way round. */
function parseState(fields: JsonObject, hasFiles: boolean): { state: ImageState; disabled: boolean } {
  const isDisabled = looseBoolean(fields.disabled) ?? Boolean(fields.disabled)
  const told = toldState(fields, hasFiles)
  const state = told === 'active' && isDisabled ? 'disabled' : told
  return { state, disabled: isDisabled || state === 'disabled' }
}

function toldState({ state, activated, published_at }: JsonObject, hasFiles: boolean): ImageState {
  if (typeof state === 'string') {
    // dsapid has states of its own: deprecated is still served to all, pending and nuked are not.
    if (state === 'deprecated') return 'active'
    return IMAGE_STATES.find((known) => known === state) ?? 'unactivated'
  }
  // imgadm writes manifests without a state.
  return hasFiles && published_at && looseBoolean(activated) !== false ? 'active' : 'unactivated'
}

function parsePublishedAt(given: unknown, state: ImageState, dropped: string[]): string | undefined {
  const publishedAt = normalisePublishedAt(given)
  if (publishedAt !== undefined) return publishedAt
  if (isReady(state)) {
    throw refusal(given === undefined ? `it is ${state} but has no published_at` : refusalOf('published_at', given))
  }
  if (given) dropped.push('published_at')
  return undefined
}

function parseWord(field: 'name' | 'version' | 'type' | 'os', fields: JsonObject, state: ImageState): string {
  const given = fields[field]
  if (given === undefined) {
    const isLeftOpen = (field === 'type' || field === 'os') && (state === 'creating' || state === 'failed')
    return isLeftOpen ? 'null' : refuse(`it has no ${field}`)
  }
  const word = typeof given === 'number' ? String(given) : given
  const [failure] = checkField(field, { [field]: word, state }, { mode: 'dc' })
  if (typeof word === 'string' && !failure) return word
  throw refusal(failure?.message ?? refusalOf(field, given))
}

const OPTIONAL_FIELDS = [
  'description',
  'homepage',
  'eula',
  'icon',
  'urn',
  'acl',
  'users',
  'generate_passwords',
  'inherited_directories',
  'nic_driver',
  'disk_driver',
  'cpu_type',
  'image_size',
  'tags',
  'billing_tags',
  'traits',
] as const

/** The optional fields that are valid; the names of the others go into `dropped`. */
function parseOptionals(fields: JsonObject, { type }: { type: string }, dropped: string[]): Record<string, unknown> {
  const valid: Record<string, unknown> = {}
  for (const field of OPTIONAL_FIELDS) {
    const value = fields[field]
    if (value === undefined || value === '') continue
    const repaired = repair(field, value)
    if (checkField(field, { [field]: repaired, type }, { mode: 'dc' }).length > 0) dropped.push(field)
    else valid[field] = repaired
  }
  if (fields.requirements !== undefined) valid.requirements = parseRequirements(fields.requirements, dropped)
  return valid
}

function repair(field: ManifestField, value: unknown): unknown {
  if (field === 'image_size' && typeof value === 'string' && /^\d{1,15}$/.test(value)) return Number(value)
  return field === 'icon' || field === 'generate_passwords' ? (looseBoolean(value) ?? value) : value
}

/** One bad requirement does not do away with the others: they keep an image off platforms it does not run on. */
function parseRequirements(given: unknown, dropped: string[]): JsonObject | undefined {
  if (!isJsonObject(given) || isDeeperThan(given, MAX_REQUIREMENTS_DEPTH)) {
    if (given) dropped.push('requirements')
    return undefined
  }
  const valid: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(given)) {
    if (value === null) continue
    if (checkRequirement(key, given).length > 0) dropped.push(`requirements.${key}`)
    else valid[key] = value
  }
  return valid
}

/**
 * A Docker layer that its server has not pulled yet has no sha1, but is named by its sha256. Where there is a sha1, that
 * alone counts: what is served may have been made from the layer, and be compressed in another way.
 */
function layerDigest({ tags, type }: JsonObject): Digest | undefined {
  return type === 'docker' && isJsonObject(tags) ? parseRegistryDigest(tags['docker:id']) : undefined
}

function hasDockerId(tags: unknown): boolean {
  return isJsonObject(tags) && typeof tags['docker:id'] === 'string'
}

function refusalOf(field: string, given: unknown): string {
  return `its ${field} is not valid: ${brief(given)}`
}

function refuseField(field: string, given: unknown): never {
  throw refusal(refusalOf(field, given))
}

function refuse(reason: string): never {
  throw refusal(reason)
}

function refusal(reason: string): MirrorError {
  return new MirrorError('MANIFEST_INVALID', reason)
}
