import { MirrorError } from '../../errors.js'
import type { Filter } from '../../images/filter.js'
import type { Uuid } from '../../images/uuid.js'
import { inSlices } from '../../parts/in-slices.js'
import { type BlobRef, CHUNK_BYTES } from '../../store/blob-store.js'
import type { Store } from '../../store/store.js'
import type { Job, JobProgress, Jobs } from '../jobs.js'
import type { Keeping } from '../keeping/keeping.js'
import type { KnownImages } from './known-images.js'
import type { Operator } from './operations.js'

export interface VerificationOptions {
  readonly jobs: Jobs
  readonly store: Store
  readonly keeping: Keeping
  readonly images: KnownImages
}

/** What reading again came to, in files. */
export interface VerificationResult {
  readonly good: number
  /** Were damaged, and are good again. */
  readonly mended: number
  /** Are damaged, out of service, and could not be had again so far. */
  readonly damaged: number
  /** Of everything but image files: found damaged. */
  readonly otherDamage: number
}

interface Reading {
  readonly name: string
  readonly note: string
  readonly sha256: string
  readonly sizeBytes: number
}

/** Reads what is held again now, because an operator wants to know. */
export class Verification {
  readonly #options: VerificationOptions

  constructor(options: VerificationOptions) {
    this.#options = options
  }

  /**
   * Reads the files of held images again, those that match, and mends what is damaged.
   * @param uuids only these, if given. @throws MirrorError IMAGE_NOT_HELD.
   */
  verify(
    { uuids, filter }: { readonly uuids: readonly Uuid[] | undefined; readonly filter: Filter | undefined },
    { name: by }: Operator,
  ): Job {
    const { jobs, store } = this.#options
    for (const uuid of uuids ?? []) {
      if (!store.images.get(uuid)) throw new MirrorError('IMAGE_NOT_HELD', `image ${uuid} is not held here`)
    }
    const what = uuids?.length === 1 ? `image ${uuids[0]}` : uuids ? `${uuids.length} images` : 'held images'
    return jobs.start({ kind: 'verify', title: `reading ${what} again`, by }, async (progress) => {
      const readings = await this.#filesOf(uuids, filter)
      return await this.#readAll(readings, progress, async () => 0)
    })
  }

  /** Reads everything again that we keep: image files, manifests, icons, claims and the index. */
  scrub({ name: by }: Operator): Job {
    const { jobs, keeping } = this.#options
    return jobs.start({ kind: 'scrub', title: 'reading everything again', by }, async (progress) => {
      const readings = await this.#filesOf(undefined, undefined)
      const known = new Set(readings.map(({ sha256 }) => sha256))
      for await (const { sha256, sizeBytes } of inSlices(this.#options.store.blobs.all())) {
        if (!known.has(sha256)) readings.push({ name: sha256, note: 'a file of no held image', sha256, sizeBytes })
      }
      return await this.#readAll(readings, progress, () => keeping.auditNow())
    })
  }

  async #filesOf(uuids: readonly Uuid[] | undefined, filter: Filter | undefined): Promise<Reading[]> {
    const { images, store } = this.#options
    const wanted = uuids && new Set(uuids)
    const readings = new Map<string, Reading>()
    for (const { uuid, name, version } of await images.select(filter)) {
      if (wanted && !wanted.has(uuid)) continue
      for (const [index, { sha256 }] of (store.images.get(uuid)?.files ?? []).entries()) {
        // What several images share is read once.
        if (readings.has(sha256)) continue
        const ref: BlobRef | undefined = store.blobs.find({ algorithm: 'sha256', hex: sha256 })
        const itemName = index === 0 ? uuid : `${uuid}/${index}`
        readings.set(sha256, { name: itemName, note: `${name} ${version}`, sha256, sizeBytes: ref?.sizeBytes ?? 0 })
      }
    }
    return [...readings.values()]
  }

  async #readAll(
    readings: readonly Reading[],
    progress: JobProgress,
    readOthers: () => Promise<number>,
  ): Promise<VerificationResult> {
    const { keeping } = this.#options
    const counts = { good: 0, mended: 0, damaged: 0 }
    for (const { name, note, sizeBytes } of readings) progress.item(name, { note, sizeBytes })
    for (const { name, note, sha256, sizeBytes } of readings) {
      progress.signal.throwIfAborted()
      progress.item(name, { state: 'running' })
      const outcome = await keeping.examineNow(sha256, {
        signal: progress.signal,
        onChunk: (index) => progress.item(name, { doneBytes: Math.min(sizeBytes, (index + 1) * CHUNK_BYTES) }),
      })
      counts[outcome]++
      const words = {
        good: note,
        mended: `${note}: was damaged, and is good again`,
        damaged: `${note}: damaged or lost, and could not be had again`,
      }
      progress.item(name, {
        state: outcome === 'damaged' ? 'failed' : 'done',
        doneBytes: sizeBytes,
        note: words[outcome],
      })
    }
    return { ...counts, otherDamage: await readOthers() }
  }
}
