import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { MirrorError } from '../errors.js'
import { DIGEST_ALGORITHMS, type DigestAlgorithm } from '../images/digest.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import { CHUNK_BYTES } from './blob-store.js'
import type { BeginRequest, HashAnswer, HashRequest, Measured as HashResult } from './hash-worker.js'

/** Everything a fingerprint needs to know of a file's bytes. */
export type Measured = Readonly<Record<DigestAlgorithm, string>> & { readonly chunks: readonly string[] }

/** What to read, and what to make of it. */
export interface Reading {
  /** Start of a chunk. Digests begin here too. */
  readonly startBytes: number
  readonly digests: readonly DigestAlgorithm[]
  /** Told the SHA-256 of each chunk when it was read. */
  readonly onChunk: (sha256: string) => void
}

/** A file being measured behind its writer's back. */
export interface Measuring<Result = Measured> {
  /** So many bytes of it can be read now. */
  grown(sizeBytes: number): void
  /** Resolves when all `sizeBytes` are measured. @throws MirrorError STORE_BROKEN, also when the worker died. */
  finish(sizeBytes: number): Promise<Result>
  /** Rejects when it fails or is cancelled, also before `finish` is called; with what `finish` rejects with. */
  readonly failed: Promise<never>
  /** No result is wanted; `finish` rejects then. Harmless when it has resolved. */
  cancel(): void
}

/**
 * Worker threads that take every digest of a file. At most as many as there are cores to spare and no more than four,
 * started when first needed; files share them chunk by chunk. One that dies fails its files, and is replaced at the next.
 */
export class HashPool {
  readonly #limit: number
  readonly #workers = new Set<HashThread>()
  #nextId = 1
  #isRefusing = false

  constructor(limit = Math.max(1, Math.min(4, availableParallelism() - 1))) {
    this.#limit = limit
  }

  /**
   * Takes every digest of a file that exists and may grow. End it with `finish` or `cancel`.
   * @throws MirrorError CLOSING.
   */
  begin(path: string): Measuring {
    const measuring = this.#begin({ path, startBytes: 0, digests: DIGEST_ALGORITHMS, takesChunks: true })
    const finish = async (sizeBytes: number) => {
      const { digests, chunks } = await measuring.finish(sizeBytes)
      return { ...(digests as Record<DigestAlgorithm, string>), chunks }
    }
    return { ...measuring, finish }
  }

  /** One digest of a whole file, several times faster than all of them. @throws MirrorError CLOSING, STORE_BROKEN. */
  async digest(path: string, algorithm: DigestAlgorithm, sizeBytes: number): Promise<string> {
    const measuring = this.#begin({ path, startBytes: 0, digests: [algorithm], takesChunks: false })
    return (await measuring.finish(sizeBytes)).digests[algorithm]!
  }

  /** Reads a file chunk by chunk, as far as `grown` and `finish` say. @throws MirrorError CLOSING. */
  read(path: string, reading: Reading): Measuring<HashResult> {
    const { startBytes, digests, onChunk } = reading
    return this.#begin({ path, startBytes, digests, takesChunks: true }, onChunk)
  }

  #begin(
    what: Omit<BeginRequest, 'id' | 'kind' | 'chunkBytes' | 'tellsChunks'>,
    onChunk?: (sha256: string) => void,
  ): Measuring<HashResult> {
    const thread = this.#leastBusy()
    const id = this.#nextId++
    const request = { ...what, id, kind: 'begin', chunkBytes: CHUNK_BYTES, tellsChunks: onChunk !== undefined } as const
    const result = thread.begin(request, onChunk)
    const failed = new Promise<never>((_, reject) => {
      result.catch(reject)
    })
    failed.catch(() => {})
    return {
      failed,
      grown: (sizeBytes) => thread.ask({ id, kind: 'grown', sizeBytes }),
      finish: (sizeBytes) => {
        thread.ask({ id, kind: 'finish', sizeBytes })
        return result
      },
      cancel: () => thread.cancel(id),
    }
  }

  /** From now on `begin` throws MirrorError CLOSING; what is being measured goes on. */
  refuseNew(): void {
    this.#isRefusing = true
  }

  /** Ends the threads; what is still being measured fails. */
  async close(): Promise<void> {
    this.refuseNew()
    await Promise.all([...this.#workers].map((thread) => thread.close()))
  }

  #leastBusy(): HashThread {
    if (this.#isRefusing) throw new MirrorError('CLOSING', 'the store is closing and measures nothing new')
    const idlest = [...this.#workers].sort((left, right) => left.jobs - right.jobs)[0]
    if (idlest && (idlest.jobs === 0 || this.#workers.size >= this.#limit)) return idlest
    const thread = new HashThread(() => this.#workers.delete(thread))
    this.#workers.add(thread)
    return thread
  }
}

interface Awaited {
  readonly path: string
  readonly result: Deferred<HashResult>
  readonly onChunk: ((sha256: string) => void) | undefined
}

class HashThread {
  // Without the options and loaders this process was started with: the worker needs none, and some would stop it.
  readonly #worker = new Worker(new URL('./hash-worker.js', import.meta.url), { execArgv: [] })
  readonly #results = new Map<number, Awaited>()

  constructor(onGone: () => void) {
    let reason: unknown
    this.#worker.on('message', (answer: HashAnswer) => this.#take(answer))
    this.#worker.on('error', (error) => {
      reason = error
    })
    this.#worker.on('exit', () => {
      onGone()
      this.#failAll(reason)
    })
  }

  get jobs(): number {
    return this.#results.size
  }

  begin(request: BeginRequest, onChunk: ((sha256: string) => void) | undefined): Promise<HashResult> {
    const result = deferred<HashResult>()
    // Whoever asks with `finish` hears of a failure; before that nobody may be listening.
    result.promise.catch(() => {})
    this.#results.set(request.id, { path: request.path, result, onChunk })
    this.ask(request)
    return result.promise
  }

  ask(request: HashRequest): void {
    this.#worker.postMessage(request)
  }

  cancel(id: number): void {
    const waiting = this.#results.get(id)
    if (!waiting) return
    this.#results.delete(id)
    waiting.result.reject(new MirrorError('STORE_BROKEN', `${waiting.path} is no longer measured: it was given up`))
    this.ask({ id, kind: 'cancel' })
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #take(answer: HashAnswer): void {
    const waiting = this.#results.get(answer.id)
    if (!waiting) return
    if (answer.kind === 'chunk') {
      waiting.onChunk?.(answer.sha256)
      return
    }
    this.#results.delete(answer.id)
    if (answer.kind === 'measured') {
      waiting.result.resolve(answer.measured)
      return
    }
    const cause = Object.assign(new Error(answer.message), answer.code !== undefined && { code: answer.code })
    waiting.result.reject(
      new MirrorError('STORE_BROKEN', `cannot measure ${waiting.path}: ${answer.message}`, { cause }),
    )
  }

  #failAll(reason: unknown): void {
    for (const { path, result } of this.#results.values()) {
      result.reject(new MirrorError('STORE_BROKEN', `cannot measure ${path}: the hash worker died`, { cause: reason }))
    }
    this.#results.clear()
  }
}
