import { createHash } from 'node:crypto'
import { MirrorError } from '../errors.js'
import { dockerObjectName, iconName, manifestName, pieceName } from '../images/bundle/bundle-names.js'
import type { Carrying } from '../mirror/carrying.js'
import type { JobProgress } from '../mirror/jobs.js'
import { CHUNK_BYTES } from '../store/blob-store.js'
import type { Medium } from '../store/medium.js'
import { manifestText, type PlannedBundle, type PlannedVolume } from './plan-export.js'
import { layOut } from './volume-layout.js'
import { writeVolume } from './volume-writer.js'

export interface WriteBundleOptions {
  readonly mirror: Pick<Carrying, 'store' | 'verified'>
  readonly medium: Medium
  readonly bundle: PlannedBundle
  /** Those to be written now. */
  readonly volumes: readonly PlannedVolume[]
  readonly parityPercent: number
  /** When the bundle was first begun: what its signatures say. */
  readonly begunMs: number
  readonly progress: JobProgress
}

/** A file of a volume, and its bytes from a position on. */
interface Content {
  readonly sha256?: string
  read(startBytes: number): AsyncIterable<Uint8Array>
}

/** Files written at once: of one large and many small ones, the small ones do not wait. */
const FILES_AT_ONCE = 4

/**
 * Writes volumes of a bundle, one after the other. What is there of an earlier run, whole, is not written again.
 * @throws MirrorError MEDIUM_FULL, MEDIUM_UNREADABLE, STORE_BROKEN, IMAGE_INCOMPLETE when a file has left since it was planned; the
 *   signal's reason.
 */
export async function writeBundle(options: WriteBundleOptions): Promise<void> {
  const { begunMs, bundle, medium, mirror, parityPercent, progress, volumes } = options
  const signer = await mirror.store.signer()
  const at = new Date(begunMs).toISOString()
  const bundleSignature = signer.sign(bundle.json, `imgapi-mirror bundle ${bundle.id} ${at}`)
  const contents = contentsOf(bundle, mirror)
  for (const { directory, sizeBytes } of volumes) progress.item(directory, { sizeBytes })
  for (const { directory, files, sizeBytes, volume } of volumes) {
    progress.signal.throwIfAborted()
    progress.item(directory, { state: 'running' })
    const done = new Map<string, number>()
    let doneBytes = 0
    await writeVolume({
      ...{ medium, directory, bundleSignature, volume, parityPercent },
      bundleJson: bundle.json,
      volumes: bundle.index.volumes,
      contents: files.map(({ path, sizeBytes: fileBytes }) => ({ path, sizeBytes: fileBytes, ...contents.get(path)! })),
      sign: (text, comment) => signer.sign(text, comment),
      atOnce: FILES_AT_ONCE,
      onProgress(path, fileBytes) {
        doneBytes += fileBytes - (done.get(path) ?? 0)
        done.set(path, fileBytes)
        progress.item(directory, { doneBytes: Math.min(doneBytes, sizeBytes) })
      },
      signal: progress.signal,
    })
    progress.item(directory, { state: 'done', doneBytes: sizeBytes })
  }
}

/**
 * What has to be written still of these volumes: what is on the medium of them counts as there, as far as sizes tell.
 * @throws MirrorError MEDIUM_UNREADABLE.
 */
export async function bytesToWrite(
  medium: Medium,
  volumes: readonly PlannedVolume[],
  parityPercent: number,
): Promise<number> {
  let missingBytes = 0
  for (const { directory, files, sizeBytes } of volumes) {
    const all = [...files, ...(layOut(files, parityPercent).parity?.files ?? [])]
    let [thereBytes, allBytes] = [0, 0]
    for (const file of all) {
      thereBytes += Math.min(file.sizeBytes, await sizeOf(medium, `${directory}/${file.path}`))
      allBytes += file.sizeBytes
    }
    // It is written last.
    const isFinished = thereBytes === allBytes && (await sizeOf(medium, `${directory}/volume.json`)) > 0
    if (!isFinished) missingBytes += sizeBytes - thereBytes
  }
  return missingBytes
}

async function sizeOf(medium: Medium, path: string): Promise<number> {
  const file = await medium.open(path)
  if (!file) return 0
  await file.close()
  return file.sizeBytes
}

function contentsOf(bundle: PlannedBundle, mirror: WriteBundleOptions['mirror']): ReadonlyMap<string, Content> {
  const { store } = mirror
  const { docker, images, pieces } = bundle.index
  const contents = new Map<string, Content>([
    ['README.txt', ofBytes(async () => bundle.readme)],
    ['provenance.jsonl', ofBytes(async () => bundle.provenance)],
  ])
  for (const { icon, manifest } of images) {
    const { uuid } = manifest
    contents.set(
      manifestName(uuid),
      ofBytes(async () => Buffer.from(manifestText(manifest))),
    )
    if (!icon) continue
    const { sha256, type } = icon
    const read = async () => expected((await store.icons.get(uuid))?.bytes, sha256, `the icon of image ${uuid}`)
    contents.set(iconName(uuid, type), ofBytes(read, sha256))
  }
  for (const { digest } of docker.objects) {
    const name = `sha256:${digest.hex}`
    const read = async () => expected((await store.registry.object(name))?.bytes, digest.hex, `Docker object ${name}`)
    contents.set(dockerObjectName(digest.hex), ofBytes(read, digest.hex))
  }
  const sizes = new Map(
    [...images.flatMap(({ files }) => files), ...docker.layers].map(({ sha256, sizeBytes }) => [sha256, sizeBytes]),
  )
  for (const { endBytes, sha256, startBytes } of pieces) {
    const sizeBytes = sizes.get(sha256)!
    const isWhole = startBytes === 0 && endBytes === sizeBytes
    contents.set(pieceName(sha256, startBytes, endBytes, sizeBytes), {
      ...(isWhole && { sha256 }),
      read: (fromBytes) => readBlob(mirror, sha256, startBytes + fromBytes, endBytes),
    })
  }
  return contents
}

function ofBytes(find: () => Promise<Buffer>, sha256?: string): Content {
  return {
    ...(sha256 !== undefined && { sha256 }),
    async *read(startBytes) {
      yield (await find()).subarray(startBytes)
    },
  }
}

function expected(bytes: Buffer | undefined, sha256: string, what: string): Buffer {
  const isSame = bytes !== undefined && createHash('sha256').update(bytes).digest('hex') === sha256
  if (isSame) return bytes
  throw new MirrorError(
    'IMAGE_INCOMPLETE',
    `${what} has changed, or left, since this export was planned; begin it again`,
  )
}

async function* readBlob(
  { store, verified }: WriteBundleOptions['mirror'],
  sha256: string,
  startBytes: number,
  endBytes: number,
): AsyncGenerator<Uint8Array> {
  const opened = await store.blobs.open(sha256)
  if (!opened) {
    throw new MirrorError('IMAGE_INCOMPLETE', `file ${sha256} has left since this export was planned; begin it again`)
  }
  const blob = verified(opened)
  try {
    for (let position = startBytes; position < endBytes; ) {
      // What was given is whoever's who took it: the next bytes come in a buffer of their own.
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, endBytes - position))
      const readBytes = await blob.read(buffer, position)
      if (readBytes === 0) throw new MirrorError('STORE_BROKEN', `file ${sha256} ends before its end`)
      yield buffer.subarray(0, readBytes)
      position += readBytes
    }
  } finally {
    await blob.close()
  }
}
