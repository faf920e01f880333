import { setImmediate as nextTurn } from 'node:timers/promises'
import type { MirrorError } from '../../errors.js'
import type { Digest } from '../digest.js'
import { isRegistryHost, isRepositoryName, isTag } from '../docker/reference.js'
import { parseRegistryDigest } from '../docker/registry-digest.js'
import { MAX_REGISTRY_JSON_BYTES } from '../docker/registry-manifest.js'
import type { Manifest } from '../manifest.js'
import { parseManifest } from '../parse-manifest.js'
import type { Uuid } from '../uuid.js'
import type {
  BundledFile,
  BundledImage,
  BundledObject,
  BundledTag,
  BundleIndex,
  Icon,
  Piece,
  RequiredImage,
} from './bundle-index.js'
import { INDEX_LIMITS, MAX_ENTRIES, MAX_ICON_BYTES, MAX_VOLUMES } from './bundle-limits.js'
import { PIECE_ALIGNMENT_BYTES } from './bundle-names.js'
import { FieldReader } from './field-reader.js'

export const BUNDLE_FORMAT = 'imgapi-mirror bundle'

const KEY_NAME = /^[0-9A-F]{16}$/
const KEY_FORM = 'the name of a key, in 16 upper-case hex digits'
/** As many as a manifest may have (parse-files.ts). */
const MAX_FILES = 16
const MAX_SELECT = 1_000
const MAX_SELECT_LENGTH = 4_096
const MAX_REPOSITORIES = 10_000
/** Of each, so many take some 30 ms; then others have their turn. */
const IMAGES_PER_TURN = 256
const PIECES_PER_TURN = 10_000

/** What is said of the bytes of a file, which must be the same wherever it is said. */
type FileFacts = { readonly [Fact in 'sizeBytes' | 'sha1' | 'md5']?: string | number }

/**
 * Reads `bundle.json`. Whatever it says is hostile until here: what is answered has no image, file or byte twice, no size that
 * contradicts another, and nothing that stands before what it builds on. Keys that we do not know are left out. The largest takes
 * seconds, in which others have their turns: only its text is parsed at once.
 *
 * @throws MirrorError BUNDLE_INVALID naming what is wrong, and where.
 */
export async function parseBundleIndex(bytes: Buffer): Promise<BundleIndex> {
  const reader = FieldReader.ofDocument('bundle.json', bytes, INDEX_LIMITS)
  reader.expectFormat(BUNDLE_FORMAT)
  const volumes = reader.wholeNumber('volumes', { least: 1, most: MAX_VOLUMES })
  const files = new KnownFiles()
  const requires = reader.objects('requires', MAX_ENTRIES).map((one) => readRequiredImage(one, files))
  refuseTwice(reader, 'requires', requires, ({ uuid }) => uuid)
  const images = await readImages(reader, requires, files)
  const docker = readDocker(reader.object('docker'), files)
  const sizes = sizesOf([...images.flatMap((image) => image.files), ...docker.layers])
  return {
    from: { site: reader.object('from').word('site'), key: readKey(reader.object('from')) },
    for: readReceiver(reader.objectOrNull('for')),
    series: readSeries(reader.objectOrNull('series')),
    select: reader.words('select', MAX_SELECT, MAX_SELECT_LENGTH),
    images,
    requires,
    pieces: await readPieces(reader, volumes, sizes),
    volumes,
    docker,
    provenance: {
      sizeBytes: reader.object('provenance').wholeNumber('sizeBytes', { least: 0 }),
      sha256: reader.object('provenance').sha256('sha256'),
    },
  }
}

function readKey(reader: FieldReader): string {
  return reader.text('key', KEY_NAME, KEY_FORM)
}

function readReceiver(reader: FieldReader | undefined): BundleIndex['for'] {
  const key = reader?.raw('key') === null ? undefined : reader && readKey(reader)
  return reader && { site: reader.word('site'), key, inventory: reader.sha256('inventory') }
}

function readSeries(reader: FieldReader | undefined): BundleIndex['series'] {
  if (!reader) return undefined
  const previous = reader.raw('previous') === null ? undefined : reader.sha256('previous')
  const number = reader.wholeNumber('number', { least: 1 })
  return { name: reader.word('name'), number, previous }
}

function readRequiredImage(reader: FieldReader, known: KnownFiles): RequiredImage {
  const files = reader.objects('files', MAX_FILES).map((file) => {
    const sizeBytes = file.wholeNumber('sizeBytes', { least: 1 })
    const sha256 = file.sha256('sha256')
    known.compare(sha256, { sizeBytes }, file)
    return { sizeBytes, sha256 }
  })
  return { uuid: reader.uuid('uuid'), name: reader.word('name'), version: reader.word('version'), files }
}

async function readImages(
  reader: FieldReader,
  requires: readonly RequiredImage[],
  known: KnownFiles,
): Promise<BundledImage[]> {
  const there = new Set<Uuid>(requires.map(({ uuid }) => uuid))
  return await eachInTurns(reader.objects('images', MAX_ENTRIES), IMAGES_PER_TURN, (each) => {
    const image = readImage(each, known)
    const { origin, uuid } = image.manifest
    if (there.has(uuid)) throw each.failure(`is image ${uuid}, which is in the bundle, or required by it, already`)
    if (origin && !there.has(origin)) {
      throw each.failure(`builds on ${origin}, which neither stands before it nor is among what the bundle requires`)
    }
    there.add(uuid)
    return image
  })
}

function readImage(reader: FieldReader, known: KnownFiles): BundledImage {
  const files = reader.objects('files', MAX_FILES).map((file) => readFile(file, known))
  const isPublication = reader.raw('publication') === true
  const manifest = readManifest(reader, files)
  return {
    manifest,
    upstream: reader.word('upstream'),
    files,
    icon: readIcon(reader.objectOrNull('icon')),
    isPublication,
  }
}

function readFile(reader: FieldReader, known: KnownFiles): BundledFile {
  const file = {
    sizeBytes: reader.wholeNumber('sizeBytes', { least: 1 }),
    sha256: reader.sha256('sha256'),
    sha1: reader.text('sha1', /^[0-9a-f]{40}$/, 'a SHA-1, in 40 lower-case hex digits'),
    md5: reader.text('md5', /^[0-9a-f]{32}$/, 'an MD5, in 32 lower-case hex digits'),
  }
  known.compare(file.sha256, { sizeBytes: file.sizeBytes, sha1: file.sha1, md5: file.md5 }, reader)
  return file
}

/** What is served of it is its own text; its files are held to all digests that were measured, and may not contradict them. */
function readManifest(reader: FieldReader, files: readonly BundledFile[]): Manifest {
  const parsed = parseManifest(reader.raw('manifest'), { allowMissingDigest: true })
  if (!parsed.ok) throw reader.failure(`is no manifest we can use: ${parsed.reason}`, 'manifest')
  const { manifest } = parsed.statement
  if (files.length === 0 || manifest.files.length !== files.length) {
    const right = 'it has one or more, and as many as its manifest says'
    throw reader.failure(`has ${files.length} files, and its manifest ${manifest.files.length}; right is that ${right}`)
  }
  const measured = manifest.files.map((file, index) => {
    const { sizeBytes, ...hexes } = files[index]!
    if (file.sizeBytes !== sizeBytes) {
      throw reader.failure(`is of ${sizeBytes} bytes, and of ${file.sizeBytes} in the manifest`, `files[${index}]`)
    }
    for (const { algorithm, hex } of file.digests) {
      if (hexes[algorithm] === hex) continue
      throw reader.failure(`is of another ${algorithm} than in the manifest, ${hex}`, `files[${index}]`)
    }
    return { ...file, digests: digestsOf(hexes) }
  })
  return { ...manifest, files: measured }
}

function digestsOf({ md5, sha1, sha256 }: Omit<BundledFile, 'sizeBytes'>): readonly Digest[] {
  return [
    { algorithm: 'sha256', hex: sha256 },
    { algorithm: 'sha1', hex: sha1 },
    { algorithm: 'md5', hex: md5 },
  ]
}

function readIcon(reader: FieldReader | undefined): Icon | undefined {
  return (
    reader && {
      type: reader.oneOf('type', ['image/jpeg', 'image/gif', 'image/png']),
      sizeBytes: reader.wholeNumber('sizeBytes', { least: 1, most: MAX_ICON_BYTES }),
      sha256: reader.sha256('sha256'),
    }
  )
}

function sizesOf(files: readonly BundledFile[]): ReadonlyMap<string, number> {
  return new Map(files.map(({ sha256, sizeBytes }) => [sha256, sizeBytes]))
}

async function readPieces(reader: FieldReader, volumes: number, sizes: ReadonlyMap<string, number>): Promise<Piece[]> {
  const readers = reader.objects('pieces', MAX_ENTRIES)
  const pieces = await eachInTurns(readers, PIECES_PER_TURN, (each) => {
    const sha256 = each.sha256('sha256')
    const sizeBytes = sizes.get(sha256)
    if (sizeBytes === undefined) throw each.failure('is of no file of this bundle', 'sha256')
    const endBytes = each.wholeNumber('endBytes', { least: 1, most: sizeBytes })
    const startBytes = each.wholeNumber('startBytes', { least: 0, most: endBytes - 1 })
    if (
      startBytes % PIECE_ALIGNMENT_BYTES !== 0 ||
      (endBytes % PIECE_ALIGNMENT_BYTES !== 0 && endBytes !== sizeBytes)
    ) {
      throw each.failure(`begins or ends at no multiple of ${PIECE_ALIGNMENT_BYTES} bytes, nor with its file`)
    }
    return { sha256, startBytes, endBytes, volume: each.wholeNumber('volume', { least: 1, most: volumes }) }
  })
  refuseOverlaps(pieces, readers)
  return pieces
}

function refuseOverlaps(pieces: readonly Piece[], readers: readonly FieldReader[]): void {
  const order = pieces.map((piece, index) => ({ ...piece, index }))
  order.sort((one, other) => compareTexts(one.sha256, other.sha256) || one.startBytes - other.startBytes)
  for (const [place, piece] of order.entries()) {
    const before = order[place - 1]
    if (before?.sha256 !== piece.sha256 || before.endBytes <= piece.startBytes) continue
    throw readers[piece.index]!.failure('has bytes that another piece of its file has, too')
  }
}

function compareTexts(one: string, other: string): number {
  if (one === other) return 0
  return one < other ? -1 : 1
}

function readDocker(reader: FieldReader, known: KnownFiles): BundleIndex['docker'] {
  const objects = reader.objects('objects', MAX_ENTRIES).map((each): BundledObject => {
    const sizeBytes = each.wholeNumber('sizeBytes', { least: 1, most: MAX_REGISTRY_JSON_BYTES })
    const repositories = each.words('in', MAX_REPOSITORIES, 512)
    const wrong = repositories.findIndex((name) => !isWhereabouts(name))
    if (wrong !== -1)
      throw each.refusal(`in[${wrong}]`, 'a repository, as in "docker.io/library/busybox"', repositories[wrong])
    return {
      digest: { algorithm: 'sha256', hex: each.sha256('sha256') },
      sizeBytes,
      mediaType: each.word('mediaType'),
      repositories,
    }
  })
  refuseTwice(reader, 'objects', objects, ({ digest }) => digest.hex)
  const layers = reader.objects('layers', MAX_ENTRIES).map((layer) => readFile(layer, known))
  refuseTwice(reader, 'layers', layers, ({ sha256 }) => sha256)
  const tags = reader.objects('tags', MAX_ENTRIES).map(readTag)
  refuseTwice(reader, 'tags', tags, ({ host, repository, tag }) => `${host}/${repository}:${tag}`)
  return { objects, layers, tags }
}

function readTag(reader: FieldReader): BundledTag {
  const [host, repository, tag] = [reader.word('host'), reader.word('repository'), reader.word('tag')]
  if (!isRegistryHost(host)) throw reader.refusal('host', 'a host, as in "docker.io"')
  if (!isRepositoryName(repository)) throw reader.refusal('repository', 'a repository, as in "library/busybox"')
  if (!isTag(tag)) throw reader.refusal('tag', 'a tag, as in "latest"')
  const digest = parseRegistryDigest(reader.raw('digest'))
  if (!digest) throw reader.refusal('digest', '"sha256:" and 64 lower-case hex digits')
  return { host, repository, tag, digest: `sha256:${digest.hex}` }
}

/** `host/repository` */
function isWhereabouts(name: string): boolean {
  const slash = name.indexOf('/')
  return slash > 0 && isRegistryHost(name.slice(0, slash)) && isRepositoryName(name.slice(slash + 1))
}

async function eachInTurns<Entry, Value>(
  entries: readonly Entry[],
  perTurn: number,
  read: (entry: Entry) => Value,
): Promise<Value[]> {
  const values: Value[] = []
  for (const entry of entries) {
    values.push(read(entry))
    if (values.length % perTurn === 0) await nextTurn()
  }
  return values
}

function refuseTwice<Entry>(
  reader: FieldReader,
  key: string,
  entries: readonly Entry[],
  nameOf: (entry: Entry) => string,
): void {
  const names = new Set<string>()
  for (const entry of entries) {
    const name = nameOf(entry)
    if (names.has(name)) throw reader.failure(`has ${name} twice`, key)
    names.add(name)
  }
}

/** Several images may share a file: then all must say the same of it. */
class KnownFiles {
  readonly #facts = new Map<string, FileFacts>()

  /** @throws MirrorError BUNDLE_INVALID */
  compare(sha256: string, facts: FileFacts, reader: FieldReader): void {
    const known = this.#facts.get(sha256)
    for (const [fact, value] of Object.entries(facts)) {
      const said = known?.[fact as keyof FileFacts]
      if (said !== undefined && said !== value) throw contradiction(reader, fact, said)
    }
    this.#facts.set(sha256, { ...known, ...facts })
  }
}

function contradiction(reader: FieldReader, fact: string, said: string | number): MirrorError {
  return reader.failure(`is otherwise than where the same file stands before: ${said}`, fact)
}
