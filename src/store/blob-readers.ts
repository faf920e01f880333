import { MirrorError } from '../errors.js'
import type { BlobRef, OpenBlob } from './blob-store.js'
import type { OpenedFile } from './file-system.js'
import { readPromised } from './read-promised.js'

/** Somebody's right to read a blob: from before it is opened until it is closed. */
export interface ReadingLease {
  /** The blob was taken out of service: nothing more is to be read of it. */
  readonly isBroken: boolean
  end(): void
}

/** Who reads which blob: nothing that is being read is let go of, and nothing that was found bad is read on. */
export class BlobReaders {
  /** As many as there are blobs open. */
  readonly #leases = new Map<string, Set<{ isBroken: boolean }>>()

  begin(sha256: string): ReadingLease {
    const leases = this.#leases.get(sha256) ?? new Set()
    this.#leases.set(sha256, leases)
    const lease = { isBroken: false }
    leases.add(lease)
    return {
      get isBroken() {
        return lease.isBroken
      },
      end: () => {
        leases.delete(lease)
        if (leases.size === 0 && this.#leases.get(sha256) === leases) this.#leases.delete(sha256)
      },
    }
  }

  has(sha256: string): boolean {
    return this.#leases.has(sha256)
  }

  /** Breaks the leases there are; those who come later read something else under that name. */
  break(sha256: string): void {
    for (const lease of this.#leases.get(sha256) ?? []) lease.isBroken = true
    this.#leases.delete(sha256)
  }
}

export class DiskOpenBlob implements OpenBlob {
  readonly ref: BlobRef
  readonly path: string
  readonly #file: OpenedFile
  readonly #lease: ReadingLease
  #closing: Promise<void> | undefined

  constructor(ref: BlobRef, path: string, file: OpenedFile, lease: ReadingLease) {
    this.ref = ref
    this.path = path
    this.#file = file
    this.#lease = lease
  }

  get isDamaged(): boolean {
    return this.#lease.isBroken
  }

  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    const wanted = buffer.subarray(0, Math.max(0, Math.min(buffer.length, this.ref.sizeBytes - positionBytes)))
    this.#checkLease()
    const readBytes = await readPromised(this.#file, wanted, positionBytes, `blob ${this.ref.sha256}`)
    this.#checkLease()
    return readBytes
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#lease.end()
    await this.#file.close()
  }

  #checkLease(): void {
    if (!this.isDamaged) return
    throw new MirrorError('STORE_BROKEN', `blob ${this.ref.sha256} was found damaged while it was being read`)
  }
}
