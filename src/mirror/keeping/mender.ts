import { createHash } from 'node:crypto'
import { isMirrorError, MirrorError } from '../../errors.js'
import { strongestDigest } from '../../images/digest.js'
import type { Manifest } from '../../images/manifest.js'
import { deferred } from '../../parts/deferred.js'
import type { Log } from '../../parts/log.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import { type BlobRef, type BlobStore, CHUNK_BYTES, type Fingerprint } from '../../store/blob-store.js'
import type { ImageStore } from '../../store/image-store.js'
import type { FileBody } from '../../upstream/upstream.js'
import type { Catalogue } from '../catalogue.js'
import type { MirrorCounters } from '../counters.js'
import type { RecordHappening } from '../ledger.js'
import type { Offer } from '../reception.js'

/** A file of an image, and the blob that it is, here or not. */
export interface HeldFile {
  readonly manifest: Manifest
  readonly fileIndex: number
  readonly sha256: string
}

export interface MenderOptions {
  readonly store: { readonly blobs: BlobStore; readonly images: ImageStore }
  readonly catalogue: Catalogue
  /** Who can give files of this image, best first; none when nobody is left, or we are offline. */
  readonly offersOf: (manifest: Manifest) => readonly Offer[]
  /** Whether `fetch` makes the file of this image of another one, whoever offers it. */
  readonly isMadeHere?: (manifest: Manifest) => boolean
  /** Fetches a file that is not kept. Resolves when it is, rejects when nobody delivers it. */
  readonly fetch: (manifest: Manifest, fileIndex: number) => Promise<void>
  /** Told when a blob is out of service, or good again. */
  readonly onChange?: () => void
  readonly counters: MirrorCounters
  readonly record: RecordHappening
  readonly log: Log
}

/** What is wrong with a blob. */
export interface Damage {
  readonly foundBy: 'a read' | 'the scrub' | 'an operator'
  /** `undefined` when nobody can say which. Perhaps not all of them. */
  readonly chunks: readonly number[] | undefined
}

/** Good chunks are collected in memory before they are put in their places. With more damage the file comes anew. */
const MOST_CHUNKS = 64

/**
 * Puts blobs right that are not what their name says: out of service first, so that nobody gets a byte of them any
 * more; then chunk by chunk from upstreams that claim the file, or, where that does not help, fetched as a whole.
 *
 * An image that counts as held while a blob of it is missing was never let go of (see Room): its blob is lost, by damage
 * that could not be mended, by a crash while it was, or by somebody's hand. Such blobs are fetched again too.
 */
export class Mender {
  readonly #options: MenderOptions
  readonly #abort = new AbortController()
  /** Mended one after the other: that bounds memory, and what a broken disk asks of upstreams. */
  readonly #turns = new OneAtATime()
  readonly #underWay = new Map<string, Promise<boolean>>()
  readonly #patching = new Map<string, Promise<void>>()

  constructor(options: MenderOptions) {
    this.#options = options
  }

  /** Answers whether the blob is good again. Who comes while it is being mended waits for that. Never rejects. */
  mend(sha256: string, damage: Damage): Promise<boolean> {
    return this.#share(sha256, () => this.#mend(sha256, damage))
  }

  /** Resolves when the chunks of a blob are no longer being put right; `undefined` when that is not under way. */
  patching(sha256: string): Promise<void> | undefined {
    return this.#patching.get(sha256)
  }

  /** Tries once to get back what is lost: all of it, or one blob. */
  async mendLost(sha256?: string): Promise<void> {
    for (const file of [...this.lost()]) {
      if (sha256 !== undefined && file.sha256 !== sha256) continue
      if (this.#abort.signal.aborted) return
      await this.#share(file.sha256, () => this.#turns.run(() => this.#fetchAgain(file)))
    }
  }

  /** Files of held images that are not here. */
  *lost(): Generator<HeldFile> {
    const { blobs, images } = this.#options.store
    for (const { manifest, files } of images.all()) {
      for (const [fileIndex, { sha256 }] of files.entries()) {
        if (!blobs.find({ algorithm: 'sha256', hex: sha256 })) yield { manifest, fileIndex, sha256 }
      }
    }
  }

  /** Waits for what is being mended, which is cut short. */
  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await Promise.allSettled(this.#underWay.values())
  }

  #share(sha256: string, work: () => Promise<boolean>): Promise<boolean> {
    const joined = this.#underWay.get(sha256)
    if (joined) return joined
    const started = work()
      .then((isMended) => {
        if (isMended) this.#options.onChange?.()
        return isMended
      })
      .catch((error: unknown) => {
        const isOver = isMirrorError(error, 'CLOSING')
        if (!isOver) this.#options.log.error({ sha256, err: error }, `blob ${sha256} could not be mended`)
        return false
      })
      .finally(() => this.#underWay.delete(sha256))
    this.#underWay.set(sha256, started)
    return started
  }

  async #mend(sha256: string, damage: Damage): Promise<boolean> {
    const { counters, log, record, store } = this.#options
    this.#abort.signal.throwIfAborted()
    const ref = store.blobs.find({ algorithm: 'sha256', hex: sha256 })
    if (!ref) return false
    const files = this.#filesWith(ref)
    const uuids = files.map(({ manifest }) => manifest.uuid)
    const patched = deferred<void>()
    if (damage.chunks) this.#patching.set(sha256, patched.promise)
    let isMended = false
    try {
      // Before it is out of service, and its fingerprint with it.
      const fingerprint = damage.chunks && (await this.#fingerprintOf(sha256))
      record('damaged', uuids[0], { sha256, foundBy: damage.foundBy, chunks: damage.chunks, images: uuids })
      await this.#quarantine(sha256, { ...damage, uuids })
      this.#options.onChange?.()
      record('quarantined', uuids[0], { sha256, images: uuids })
      counters.damageFound('blob')
      log.error({ sha256, uuids, ...damage }, `blob ${sha256} is damaged and is no longer served`)
      const patch = async () => fingerprint !== undefined && (await this.#patch(fingerprint, damage.chunks!, files))
      isMended = await this.#turns.run(patch)
    } finally {
      this.#patching.delete(sha256)
      patched.resolve()
    }
    const how = isMended ? 'chunks' : 'fetched'
    isMended ||= await this.#turns.run(() => this.#fetchAgainAs(sha256, files))
    if (isMended) record('repaired', uuids[0], { sha256, how, images: uuids })
    else record('not-repaired', uuids[0], { sha256, images: uuids })
    if (isMended) {
      counters.damageMended('blob')
      log.info({ sha256, uuids }, `blob ${sha256} is good again`)
    }
    return isMended
  }

  /** Files that are this blob, of whatever image we know: one may not be written down as held yet. */
  #filesWith(ref: BlobRef): HeldFile[] {
    const { catalogue } = this.#options
    const found: HeldFile[] = []
    for (const manifest of catalogue.all()) {
      const held = catalogue.held(manifest.uuid)
      for (const [fileIndex, { digests, sizeBytes }] of manifest.files.entries()) {
        if (sizeBytes !== ref.sizeBytes) continue
        const digest = strongestDigest(digests)
        const isClaimed = digest !== undefined && ref[digest.algorithm] === digest.hex
        if (isClaimed || held?.files[fileIndex]?.sha256 === ref.sha256) {
          found.push({ manifest, fileIndex, sha256: ref.sha256 })
        }
      }
    }
    return found
  }

  async #fingerprintOf(sha256: string): Promise<Fingerprint | undefined> {
    try {
      return await this.#options.store.blobs.fingerprint(sha256)
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
      return undefined
    }
  }

  /** What cannot be moved is out of service all the same. */
  async #quarantine(sha256: string, evidence: object): Promise<void> {
    try {
      await this.#options.store.blobs.quarantine(sha256, evidence)
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
      this.#options.log.error({ sha256, err: error }, `damaged blob ${sha256} could not be moved out of the way`)
    }
  }

  async #patch(fingerprint: Fingerprint, damaged: readonly number[], files: readonly HeldFile[]): Promise<boolean> {
    const { log, store } = this.#options
    const { sha256 } = fingerprint
    if (damaged.length > MOST_CHUNKS) return false
    const goodChunks = new Map<number, Uint8Array>()
    for (const index of damaged) {
      const chunk = await this.#fetchChunk(fingerprint, index, files)
      if (!chunk) return false
      goodChunks.set(index, chunk)
    }
    try {
      await store.blobs.repair(sha256, goodChunks)
      return true
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
      log.warn({ sha256, chunks: damaged, err: error }, `blob ${sha256} is not put right by its damaged chunks alone`)
      return false
    }
  }

  /** A chunk that has its hash, from the first who gives it. */
  async #fetchChunk(
    fingerprint: Fingerprint,
    index: number,
    files: readonly HeldFile[],
  ): Promise<Uint8Array | undefined> {
    const { counters, log, offersOf } = this.#options
    for (const { manifest, fileIndex } of files) {
      for (const offer of offersOf(manifest)) {
        const { name } = offer.upstream
        const facts = { uuid: manifest.uuid, upstream: name, chunk: index }
        try {
          const bytes = await this.#readRange(offer, fileIndex, index * CHUNK_BYTES, chunkEnd(fingerprint, index))
          if (bytes && sha256Of(bytes) === fingerprint.chunks[index]) return bytes
          if (bytes) counters.verificationFailed(name)
          log.warn(
            facts,
            `upstream ${name} ${bytes ? 'gives other bytes' : 'does not give a part'} of what is to be mended`,
          )
        } catch (error) {
          this.#abort.signal.throwIfAborted()
          if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
          log.warn({ ...facts, err: error }, `upstream ${name} gives no part of what is to be mended`)
        }
      }
    }
    return undefined
  }

  /** `undefined` from an upstream that does not give just that range. */
  async #readRange(
    offer: Offer,
    fileIndex: number,
    startBytes: number,
    endBytes: number,
  ): Promise<Uint8Array | undefined> {
    const { signal } = this.#abort
    const { claim, upstream } = offer
    const request = { statement: claim, fileIndex, startBytes, endBytes, priority: 'background' as const, signal }
    const answer = await upstream.openFile(request)
    try {
      return answer.startBytes === startBytes ? await this.#collect(upstream.name, answer, endBytes) : undefined
    } finally {
      answer.body.destroy()
    }
  }

  /** Up to `endBytes`, whatever comes behind it; `undefined` when the body ends before. */
  async #collect(upstream: string, answer: FileBody, endBytes: number): Promise<Uint8Array | undefined> {
    const bytes = Buffer.alloc(endBytes - answer.startBytes)
    let filledBytes = 0
    for await (const piece of answer.body as AsyncIterable<Buffer>) {
      this.#options.counters.bytesReceived(upstream, piece.length)
      filledBytes += piece.copy(bytes, filledBytes)
      if (filledBytes === bytes.length) return bytes
    }
    return undefined
  }

  async #fetchAgainAs(sha256: string, files: readonly HeldFile[]): Promise<boolean> {
    for (const file of files) if (await this.#fetchAgain(file)) return true
    const uuids = files.map(({ manifest }) => manifest.uuid)
    this.#options.log.error({ sha256, uuids }, `damaged blob ${sha256} could not be had again; it is tried later`)
    return false
  }

  async #fetchAgain({ manifest, fileIndex, sha256 }: HeldFile): Promise<boolean> {
    const { fetch, isMadeHere, log, offersOf, store } = this.#options
    const { uuid } = manifest
    if (offersOf(manifest).length === 0 && !isMadeHere?.(manifest)) return false
    try {
      await fetch(manifest, fileIndex)
    } catch (error) {
      this.#abort.signal.throwIfAborted()
      if (!isMirrorError(error)) throw error
      log.warn(
        { uuid, sha256, err: error },
        `file ${fileIndex} of image ${uuid} is lost, and could not be fetched again`,
      )
      return false
    }
    return store.blobs.find({ algorithm: 'sha256', hex: sha256 }) !== undefined
  }
}

function chunkEnd({ sizeBytes }: Fingerprint, index: number): number {
  return Math.min(sizeBytes, (index + 1) * CHUNK_BYTES)
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
