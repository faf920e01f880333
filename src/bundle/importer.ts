import { isMirrorError, MirrorError } from '../errors.js'
import type { BundleIndex } from '../images/bundle/bundle-index.js'
import type { Carrying } from '../mirror/carrying.js'
import type { Job, JobProgress } from '../mirror/jobs.js'
import type { Operator } from '../mirror/operations/operations.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import { sumOf } from '../parts/sum-of.js'
import type { Media, Medium } from '../store/medium.js'
import type { ArrivedBundles } from './arrived-bundles.js'
import type { BundleImports, BundlesStatus, ImportRequest, ImportResult, Lacking, SeriesGap } from './bundles.js'
import { CompleteImages } from './complete-images.js'
import { failIfGone } from './fail-if-gone.js'
import { findVolumes } from './find-volumes.js'
import type { Intake } from './intake.js'
import type { TrustedKeys } from './trusted-keys.js'
import { type TakenVolume, VolumeImport } from './volume-import.js'
import { volumePath } from './volume-path.js'
import { type OpenVolume, openVolume } from './volume-reader.js'

export interface ImporterOptions {
  readonly mirror: Carrying
  readonly intake: Intake
  readonly arrived: ArrivedBundles
  readonly media: Media
  /** As it is configured now. */
  readonly terms: () => Promise<{ readonly trustedKeys: TrustedKeys }>
  readonly isDiode: () => boolean
}

type VolumeResult = ImportResult['volumes'][number]

/** What one import has found out so far. */
interface Findings {
  readonly volumes: VolumeResult[]
  readonly held: Set<string>
  readonly bundles: Map<string, BundleIndex>
  /** What found no room here, in words, by the uuid of the image, or the SHA-256 of a layer that is no image's file. */
  readonly withoutRoom: Map<string, string>
  /** How large the files are that found none, by sha256. */
  readonly neededBytes: Map<string, number>
}

const SIGNATURE_LIMIT_BYTES = 4096

/** Of what found no room, so many are named. */
const MOST_NAMED = 3

/** What is said when nothing of ours is to blame. */
const REFUSALS = ['BUNDLE_INVALID', 'BUNDLE_UNTRUSTED', 'MEDIUM_UNREADABLE'] as const

/**
 * Takes in what lies on a medium. Volumes may come in any order and any number of times, and be pulled out at any moment; what is here
 * already is not written again.
 */
export class Importer implements BundleImports {
  readonly #options: ImporterOptions
  readonly #complete: CompleteImages
  /** Two that write to one file would each begin it anew. */
  readonly #turns = new OneAtATime()

  constructor(options: ImporterOptions) {
    this.#options = options
    this.#complete = new CompleteImages(options)
  }

  /** Goes on where a crash has ended us: images of which all is here are held. */
  async resume(): Promise<void> {
    try {
      await this.#turns.run(() => this.#complete.holdAll())
    } catch (error) {
      if (!isMirrorError(error)) throw error
      this.#options.mirror.log.error({ err: error }, 'images of bundles are here and could not be written down as held')
    }
  }

  lacking(): readonly Lacking[] {
    return this.#options.arrived.lacking()
  }

  gaps(): readonly SeriesGap[] {
    return this.#options.arrived.gaps()
  }

  get isDiode(): boolean {
    return this.#options.isDiode()
  }

  status(): BundlesStatus {
    const awaited = this.lacking()
    const images = awaited.flatMap((bundle) => bundle.images)
    const gaps = this.gaps().flatMap(({ missing }) => missing)
    return {
      isDiode: this.isDiode,
      awaited: awaited.length,
      volumesMissing: awaited.reduce((sum, { volumesMissing }) => sum + volumesMissing.length, 0),
      imagesMissing: images.length,
      missingBytes: images.reduce((sum, image) => sum + image.missingBytes, 0),
      neverCame: gaps.reduce((sum, [first, last]) => sum + last - first + 1, 0),
    }
  }

  async forget(what: string, { name: by }: Operator): Promise<void> {
    const { arrived, mirror } = this.#options
    mirror.ledger.record('bundle-forgotten', undefined, { by, what: await arrived.forget(what) })
  }

  startImport(request: ImportRequest, { isLocal, name: by }: Operator): Job {
    if (!isLocal) throw new MirrorError('FORBIDDEN', 'a directory of this machine is for whoever is on it to name')
    const title = `import of bundles from ${request.path.slice(0, 256)}`
    return this.#options.mirror.jobs.start({ kind: 'import-bundle', title, by }, (progress) =>
      this.#turns.run(() => this.#import(request, by, progress)),
    )
  }

  async #import(request: ImportRequest, by: string, progress: JobProgress): Promise<ImportResult> {
    const medium = await this.#options.media.open(request.path)
    const directories = await findVolumes(medium)
    if (directories.length === 0) {
      throw new MirrorError(
        'BUNDLE_INVALID',
        `${medium.path}: no volume of a bundle is here, nor in a directory below it`,
      )
    }
    const findings: Findings = {
      ...{ volumes: [], held: new Set(), bundles: new Map() },
      ...{ withoutRoom: new Map(), neededBytes: new Map() },
    }
    for (const directory of directories) {
      progress.signal.throwIfAborted()
      findings.volumes.push(await this.#importVolume(medium, directory, request, by, progress, findings))
    }
    this.#tellHeld(
      await this.#complete.holdAll().then((all) => all.map(({ manifest }) => manifest.uuid)),
      findings,
      progress,
    )
    await this.#refuseWithoutRoom(findings)
    return this.#resultOf(findings, progress)
  }

  async #importVolume(
    medium: Medium,
    directory: string,
    request: ImportRequest,
    by: string,
    progress: JobProgress,
    findings: Findings,
  ): Promise<VolumeResult> {
    const { mirror, terms } = this.#options
    const { trustedKeys } = await terms()
    const isUntrustedAllowed = request.isUntrustedAllowed ?? false
    const name = directory === '' ? medium.path : directory
    let volume: OpenVolume | undefined
    try {
      volume = await openVolume(medium, directory, { trustedKeys, isUntrustedAllowed })
      const taken = await this.#takeIn(medium, directory, volume, progress, findings)
      const { volume: number, volumes } = volume.volume
      const { from } = volume.bundle
      const { takenBytes, healedBlocks, lostBytes } = taken
      const signedBy = volume.signedBy ?? null
      mirror.ledger.record('bundle-read', undefined, {
        ...{ by, bundle: volume.id, volume: number, volumes, from, signedBy },
        ...{ takenBytes, healedBlocks, lostBytes },
      })
      const outcome = lostBytes > 0 || taken.refused > 0 ? 'damaged' : takenBytes > 0 ? 'taken' : 'repeated'
      const note = noteOf(taken)
      progress.item(nameOf(volume), { state: outcome === 'repeated' ? 'skipped' : 'done', note })
      return { directory: name, bundle: volume.id, volume: number, outcome, note, takenBytes, healedBlocks }
    } catch (error) {
      if (!isMirrorError(error, ...REFUSALS)) throw error
      await failIfGone(medium, directory)
      mirror.log.warn({ medium: medium.path, directory, err: error }, 'a volume of a bundle is refused')
      progress.item(volume ? nameOf(volume) : name, { state: 'failed', note: error.message })
      const { id = null } = volume ?? {}
      return {
        ...{ directory: name, bundle: id, volume: volume?.volume.volume ?? null },
        ...{ outcome: 'refused', note: error.message, takenBytes: 0, healedBlocks: 0 },
      }
    } finally {
      await volume?.close()
    }
  }

  async #takeIn(
    medium: Medium,
    directory: string,
    volume: OpenVolume,
    progress: JobProgress,
    findings: Findings,
  ): Promise<TakenVolume> {
    const { arrived, intake, mirror } = this.#options
    const { bundle, bundleJson, id, signedBy, volume: index } = volume
    if (!findings.bundles.has(id)) this.#tellImages(bundle, progress)
    findings.bundles.set(id, bundle)
    const sizeBytes = bundle.pieces.reduce(
      (sum, piece) => (piece.volume === index.volume ? sum + piece.endBytes - piece.startBytes : sum),
      0,
    )
    let doneBytes = 0
    progress.item(nameOf(volume), { state: 'running', sizeBytes, note: null })
    const bundleSignature = await readSignature(medium, volumePath(directory, 'bundle.json.minisig'))
    const found = { id, index: bundle, bundleJson, bundleSignature, volume: index.volume, signedBy }
    const done = await arrived.come(found)
    try {
      return await new VolumeImport({
        ...{ mirror, intake, volume, complete: this.#complete, arrival: arrived.get(id)!, signal: progress.signal },
        onRead: (bytes) => {
          doneBytes = Math.min(sizeBytes, doneBytes + bytes)
          progress.item(nameOf(volume), { doneBytes })
        },
        onHeld: (uuids) => this.#tellHeld(uuids, findings, progress),
        onLost: () => failIfGone(medium, directory),
        onNoRoom: (sha256, why) => this.#tellNoRoom(sha256, why, bundle, findings, progress),
      }).run()
    } finally {
      done()
    }
  }

  #tellImages({ images }: BundleIndex, progress: JobProgress): void {
    const { intake } = this.#options
    for (const { manifest } of images) {
      const name = `${manifest.name} ${manifest.version}`
      const refusal = intake.whyRefused(manifest)
      if (refusal !== undefined) progress.item(manifest.uuid, { state: 'failed', note: `${name}: ${refusal}` })
      else if (intake.isHeld(manifest.uuid))
        progress.item(manifest.uuid, { state: 'skipped', note: `${name}: held already` })
      else progress.item(manifest.uuid, { note: name })
    }
  }

  #tellHeld(uuids: readonly string[], { held }: Findings, progress: JobProgress): void {
    for (const uuid of uuids) {
      held.add(uuid)
      progress.item(uuid, { state: 'done' })
    }
  }

  #tellNoRoom(
    sha256: string,
    why: string,
    { docker, images }: BundleIndex,
    { neededBytes, withoutRoom }: Findings,
    progress: JobProgress,
  ): void {
    const { intake, mirror } = this.#options
    const files = [...images.flatMap((image) => image.files), ...docker.layers]
    neededBytes.set(sha256, files.find((file) => file.sha256 === sha256)?.sizeBytes ?? 0)
    const without = images.filter(({ files }) => files.some((file) => file.sha256 === sha256))
    for (const { manifest } of without) {
      const { name, uuid, version } = manifest
      if (intake.isHeld(uuid)) continue
      withoutRoom.set(uuid, `${name} ${version} (${uuid})`)
      progress.item(uuid, { state: 'failed', note: `${name} ${version}: ${why}` })
    }
    if (without.length === 0) withoutRoom.set(sha256, `layer ${sha256}`)
    mirror.log.warn({ sha256, images: without.map(({ manifest }) => manifest.uuid) }, `of a bundle: ${why}`)
  }

  /** @throws MirrorError STORE_FULL when something found no room: to carry it once more would not help. */
  async #refuseWithoutRoom({ neededBytes, withoutRoom }: Findings): Promise<void> {
    if (withoutRoom.size === 0) return
    const { room } = this.#options.mirror
    await room.look()
    const { freeBytes, quotaBytes, usedBytes } = room.status()
    const named = [...withoutRoom.values()].slice(0, MOST_NAMED).join(', ')
    const more = withoutRoom.size > MOST_NAMED ? ` and ${withoutRoom.size - MOST_NAMED} more` : ''
    const quota =
      quotaBytes === undefined
        ? ''
        : `, and ${Math.max(0, quotaBytes - usedBytes)} of the quota of ${quotaBytes} are left`
    const there = `their files have ${sumOf(neededBytes.values())} bytes, ${freeBytes ?? 'nobody knows how many'} are free on the disk of the data directory${quota}`
    throw new MirrorError(
      'STORE_FULL',
      `there is no room here for ${named}${more}; all else that fits has come. Make room, or raise the quota, and give the same command again: ${there}`,
    )
  }

  #resultOf({ bundles, held, volumes }: Findings, progress: JobProgress): ImportResult {
    const { arrived, intake } = this.#options
    const lacking = [...bundles.keys()].flatMap((id) => arrived.lackingOf(id) ?? [])
    for (const { uuid } of lacking.flatMap(({ images }) => images)) progress.item(uuid, { state: 'waiting' })
    const refused = [...bundles.values()].flatMap(({ images }) =>
      images.flatMap(({ manifest }) => {
        const { name, uuid, version } = manifest
        const why = intake.whyRefused(manifest)
        return why === undefined ? [] : [{ uuid, name, version, why }]
      }),
    )
    return {
      volumes,
      imagesHeld: held.size,
      imagesRefused: refused,
      takenBytes: volumes.reduce((sum, { takenBytes }) => sum + takenBytes, 0),
      lacking,
    }
  }
}

function nameOf({ id, volume: { volume, volumes } }: OpenVolume): string {
  return `volume ${volume} of ${volumes} of bundle ${id.slice(0, 12)}`
}

function noteOf({ healedBlocks, lostBytes, refusals, refused }: TakenVolume): string | null {
  const notes = [
    ...(lostBytes > 0
      ? [`${lostBytes} bytes that are lacking here are damaged on it, beyond what its parity can heal`]
      : []),
    ...refusals,
    ...(refused > refusals.length ? [`and ${refused - refusals.length} more files are not what they should be`] : []),
    ...(healedBlocks > 0 ? [`${healedBlocks} damaged blocks were healed by its parity`] : []),
  ]
  return notes.length > 0 ? notes.join('; ') : null
}

/** For whoever wants to check it again later: what it is worth was found out already. */
async function readSignature(medium: Medium, path: string): Promise<Buffer | undefined> {
  try {
    return await medium.readWhole(path, SIGNATURE_LIMIT_BYTES)
  } catch (error) {
    if (!isMirrorError(error, ...REFUSALS)) throw error
    return undefined
  }
}
