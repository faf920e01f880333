import { createHash } from 'node:crypto'
import { isMirrorError } from '../errors.js'
import type { BundledFile, BundledImage, BundleIndex } from '../images/bundle/bundle-index.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { Carrying } from '../mirror/carrying.js'
import { type Candidate, type ChosenImage, chooseImages, type Exportable } from './choose-images.js'
import { gatherDocker } from './gather-docker.js'
import { gatherProvenance } from './gather-provenance.js'
import { type BundleContents, type BundleForm, type PlannedBundle, planBundle } from './plan-export.js'
import type { Receiver } from './receiver.js'
import { volumeSizeBytes } from './volume-layout.js'

export interface DraftQuestion {
  readonly candidates: readonly Candidate[]
  readonly receiver: Receiver
  /** What the bundle says of itself. */
  readonly said: Pick<BundleIndex, 'from' | 'for' | 'select'>
  readonly form: BundleForm
  /** The place of a bundle of these contents in its series; `undefined` for one of no series. */
  readonly placeOf: ((contents: string) => Promise<BundleIndex['series']>) | undefined
  /** Whether what is not held may still be pulled. */
  readonly mayPull: boolean
}

/** What an export comes to, as things stand. */
export interface Draft {
  readonly images: readonly ChosenImage[]
  readonly alreadyThere: number
  readonly warnings: readonly string[]
  /** `undefined` when there is nothing to carry. While images are to be pulled first, it is about as large as it will be. */
  readonly bundle: PlannedBundle | undefined
  /** What tells its contents from others, whatever number they have in a series. */
  readonly contents: string
  /** To be pulled first. */
  readonly missing: readonly Uuid[]
}

/** @throws MirrorError QUERY_INVALID, BUNDLE_INVALID, STORE_BROKEN; the signal's reason. */
export async function draftExport(mirror: Carrying, question: DraftQuestion, signal: AbortSignal): Promise<Draft> {
  const { candidates, form, mayPull, placeOf, receiver, said } = question
  const choice = chooseImages(candidates, receiver, (manifest) => exportable(mirror, manifest, mayPull))
  const missing = choice.images.filter(({ isHeld }) => !isHeld).map(({ manifest: { uuid } }) => uuid)
  const images: ChosenImage[] = []
  const warnings = [...choice.warnings]
  for (const image of choice.images) {
    signal.throwIfAborted()
    images.push({ ...image, icon: await iconOf(mirror, image, warnings) })
  }
  const docker = await gatherDocker({
    manifests: candidates.flatMap(({ chain, obstacle }) => (obstacle === undefined ? chain : [])),
    files: new Set(images.flatMap(({ files }) => files.map(({ sha256 }) => sha256))),
    receiver,
    store: mirror.store,
  })
  warnings.push(...docker.warnings)
  const draft = { images, alreadyThere: choice.alreadyThere, warnings, missing }
  if (images.length === 0 && docker.objects.length === 0) return { ...draft, bundle: undefined, contents: '' }

  const contents: BundleContents = {
    ...said,
    ...{ series: undefined, requires: choice.requires, docker: { ...docker } },
    images: images.map(bundled),
  }
  const uuids = images.map(({ manifest: { uuid } }) => uuid)
  const provenance = await gatherProvenance(mirror, uuids, signal)
  const plan = (series: BundleIndex['series']) =>
    planBundle({ ...contents, series }, provenance, receiver, form, volumeSizeBytes)
  const alone = await plan(undefined)
  if (!placeOf) return { ...draft, bundle: alone, contents: alone.id }
  return { ...draft, bundle: await plan(await placeOf(alone.id)), contents: alone.id }
}

/** An image as it would be in a bundle; or why it cannot be had. */
function exportable(mirror: Carrying, manifest: Manifest, mayPull: boolean): Exportable | string {
  const { blobOf, catalogue, images, isOffline } = mirror
  const { uuid } = manifest
  const withheld = catalogue.withheld(uuid)
  if (withheld) return `is withheld: ${withheld.why}`
  if (manifest.files.length === 0) return 'has no file'
  const blobs = manifest.files.map((_, index) => blobOf(manifest, index))
  const isHeld = images.isHeld(manifest)
  if (!isHeld) {
    if (isOffline) return 'is not held here, and this mirror is offline'
    if (!mayPull) return 'could not be pulled'
    const isOffered = catalogue.offersOf(uuid).length + catalogue.originalsOf(uuid).length > 0
    if (!isOffered && blobs.includes(undefined)) return 'is not held here, and no configured upstream offers it'
  }
  const held = catalogue.held(uuid)
  const files = manifest.files.map((_, index) => blobs[index] ?? standIn(manifest, index))
  const absent = manifest.files.filter((_, index) => blobs[index] === undefined)
  return {
    manifest,
    upstream: held?.upstream || images.row(manifest).upstream || 'unknown',
    files: files.map(({ md5, sha1, sha256, sizeBytes }) => ({ sizeBytes, sha256, sha1, md5 })),
    icon: undefined,
    isPublication: held?.publication !== undefined,
    isHeld,
    pulledBytes: absent.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    hasStandIns: absent.some(({ digests }) => !digests.some(({ algorithm }) => algorithm === 'sha256')),
  }
}

/** What is known of a file that is not here; what is not is made up, of the right length. */
function standIn({ files, uuid }: Manifest, index: number): BundledFile {
  const { digests, sizeBytes } = files[index]!
  const digest = (algorithm: 'sha256' | 'sha1' | 'md5') =>
    digests.find((each) => each.algorithm === algorithm)?.hex ??
    createHash(algorithm).update(`${uuid}/${index}`).digest('hex')
  return { sizeBytes, sha256: digest('sha256'), sha1: digest('sha1'), md5: digest('md5') }
}

async function iconOf(mirror: Carrying, image: ChosenImage, warnings: string[]): Promise<BundledImage['icon']> {
  const { isHeld, manifest } = image
  if (!isHeld || !manifest.hasIcon) return undefined
  const icon = await mirror.iconOf(manifest).catch((error: unknown) => {
    if (!isMirrorError(error)) throw error
    warnings.push(`${manifest.name} ${manifest.version} (${manifest.uuid}) goes without its icon: ${error.message}`)
    return undefined
  })
  if (!icon) return undefined
  const sha256 = createHash('sha256').update(icon.bytes).digest('hex')
  return { type: icon.contentType, sizeBytes: icon.bytes.length, sha256 }
}

function bundled({ files, icon, isPublication, manifest, upstream }: ChosenImage): BundledImage {
  return { manifest, upstream, files, icon, isPublication }
}
