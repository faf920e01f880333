import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { MirrorError } from '../errors.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import { CHUNK_BYTES } from './blob-store.js'
import type { HashAnswer, HashRequest, Measured } from './hash-worker.js'

export type { Measured } from './hash-worker.js'

/** A file being measured behind its writer's back. */
export interface Measuring {
  /** So many bytes of it can be read now. */
  grown(sizeBytes: number): void
  /** Resolves when all `sizeBytes` are measured. @throws MirrorError STORE_BROKEN, also when the worker died. */
  finish(sizeBytes: number): Promise<Measured>
  /** No result is wanted. Harmless after `finish`. */
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

  /** Starts on a file that exists and may grow. End it with `finish` or `cancel`. @throws MirrorError CLOSING. */
  begin(path: string): Measuring {
    const thread = this.#leastBusy()
    const id = this.#nextId++
    const result = thread.begin(id, path)
    return {
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

class HashThread {
  // Without the options and loaders this process was started with: the worker needs none, and some would stop it.
  readonly #worker = new Worker(new URL('./hash-worker.js', import.meta.url), { execArgv: [] })
  readonly #results = new Map<number, { readonly path: string; readonly result: Deferred<Measured> }>()

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

  begin(id: number, path: string): Promise<Measured> {
    const result = deferred<Measured>()
    // Whoever asks with `finish` hears of a failure; before that nobody may be listening.
    result.promise.catch(() => {})
    this.#results.set(id, { path, result })
    this.ask({ id, kind: 'begin', path, chunkBytes: CHUNK_BYTES })
    return result.promise
  }

  ask(request: HashRequest): void {
    this.#worker.postMessage(request)
  }

  cancel(id: number): void {
    if (this.#results.delete(id)) this.ask({ id, kind: 'cancel' })
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #take(answer: HashAnswer): void {
    const waiting = this.#results.get(answer.id)
    if (!waiting) return
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
