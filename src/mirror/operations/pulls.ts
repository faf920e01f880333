import { isMirrorError, MirrorError } from '../../errors.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import { forEachConcurrently } from '../../parts/for-each-concurrently.js'
import type { BlobRef } from '../../store/blob-store.js'
import type { Priority } from '../../upstream/upstream.js'
import type { Job, JobProgress, Jobs } from '../jobs.js'
import { type PullWays, pullFile } from '../pull-file.js'
import type { KnownImages } from './known-images.js'
import type { Operator } from './operations.js'

export interface PullsOptions {
  readonly jobs: Jobs
  readonly images: KnownImages
  readonly isOffline: boolean
  readonly blobOf: (manifest: Manifest, fileIndex: number) => BlobRef | undefined
  readonly ways: PullWays
}

/** What a pull came to. */
export interface PullResult {
  readonly images: number
  readonly alreadyHeld: number
  readonly pulled: number
  readonly pulledBytes: number
}

/** Files under way at once: of one large and many small ones, the small ones do not wait. */
const FILES_AT_ONCE = 4

interface Wanted {
  readonly name: string
  readonly manifest: Manifest
  readonly fileIndex: number
}

/** Pulls images because an operator wants them now, with all they build on. */
export class Pulls {
  readonly #options: PullsOptions

  constructor(options: PullsOptions) {
    this.#options = options
  }

  /** Begins to pull; what several of them build on is pulled once. As urgent as a client's wish. */
  start(uuids: readonly Uuid[], { name: by }: Operator): Job {
    const title = uuids.length === 1 ? `import of image ${uuids[0]}` : `import of ${uuids.length} images`
    return this.#options.jobs.start({ kind: 'import', title, by }, (progress) => this.#pull(uuids, progress))
  }

  /**
   * Pulls for other work, which goes on without what cannot be had: that is answered. In the background.
   * @throws MirrorError IMAGE_INCOMPLETE when the mirror is offline; the signal's reason.
   */
  async pullFor(uuids: readonly Uuid[], progress: JobProgress): Promise<readonly MirrorError[]> {
    const failures: MirrorError[] = []
    await this.#pullAll(uuids, progress, 'background', failures)
    return failures
  }

  async #pull(uuids: readonly Uuid[], progress: JobProgress): Promise<PullResult> {
    const failures: MirrorError[] = []
    const result = await this.#pullAll(uuids, progress, 'client', failures)
    const [first] = failures
    if (first) {
      const others = failures.length === 1 ? '' : ` (and ${failures.length - 1} more could not be had)`
      throw new MirrorError(first.code, `${first.message}${others}`, { cause: first })
    }
    return result
  }

  async #pullAll(
    uuids: readonly Uuid[],
    progress: JobProgress,
    priority: Priority,
    failures: MirrorError[],
  ): Promise<PullResult> {
    const images = await this.#closureOf(uuids, progress, failures)
    const wanted: Wanted[] = []
    let alreadyHeld = 0
    for (const manifest of images) {
      const missing = manifest.files.flatMap((file, fileIndex) => {
        if (this.#options.blobOf(manifest, fileIndex)) return []
        const name = fileIndex === 0 ? manifest.uuid : `${manifest.uuid}/${fileIndex}`
        progress.item(name, { sizeBytes: file.sizeBytes, note: labelOf(manifest) })
        return { name, manifest, fileIndex }
      })
      wanted.push(...missing)
      if (missing.length > 0) continue
      alreadyHeld++
      await this.#options.ways.held(manifest)
      progress.item(manifest.uuid, { state: 'skipped', sizeBytes: 0, note: `${labelOf(manifest)}: held already` })
    }
    if (wanted.length > 0 && this.#options.isOffline) {
      throw new MirrorError('IMAGE_INCOMPLETE', `this mirror is offline: ${wanted.length} files cannot be pulled`)
    }

    let pulledBytes = 0
    await forEachConcurrently(wanted, FILES_AT_ONCE, async (each) => {
      progress.signal.throwIfAborted()
      try {
        await this.#pullFile(each, progress, priority)
        pulledBytes += each.manifest.files[each.fileIndex]!.sizeBytes
      } catch (error) {
        progress.signal.throwIfAborted()
        if (!isMirrorError(error)) throw error
        progress.item(each.name, { state: 'failed', note: error.message })
        failures.push(error)
      }
    })
    return { images: images.length, alreadyHeld, pulled: images.length - alreadyHeld, pulledBytes }
  }

  /** The images and all they build on, each once, base first. What cannot be had is among the failures. */
  async #closureOf(uuids: readonly Uuid[], progress: JobProgress, failures: MirrorError[]): Promise<Manifest[]> {
    const { images } = this.#options
    const closure = new Map<Uuid, Manifest>()
    for (const uuid of uuids) {
      progress.signal.throwIfAborted()
      try {
        const ancestry = await images.ancestryOf(await images.get(uuid, progress.signal), progress.signal)
        if (ancestry.broken) throw ancestry.broken
        for (const manifest of ancestry.images.toReversed()) closure.set(manifest.uuid, manifest)
        if (ancestry.missing) {
          throw new MirrorError('IMAGE_UNKNOWN', `image ${ancestry.missing} not found, on which image ${uuid} builds`)
        }
      } catch (error) {
        if (!isMirrorError(error)) throw error
        progress.signal.throwIfAborted()
        progress.item(uuid, { state: 'failed', note: error.message })
        failures.push(error)
      }
    }
    return [...closure.values()]
  }

  async #pullFile({ name, manifest, fileIndex }: Wanted, progress: JobProgress, priority: Priority): Promise<void> {
    const { signal } = progress
    const onProgress = (doneBytes: number) => progress.item(name, { doneBytes })
    progress.item(name, { state: 'running' })
    await pullFile({ manifest, fileIndex, priority, signal, onProgress }, this.#options.ways)
    progress.item(name, { state: 'done' })
  }
}

function labelOf({ name, version }: Manifest): string {
  return `${name} ${version}`
}
