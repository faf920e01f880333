import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { type Deferred, deferred } from '../parts/deferred.js'
import type { BlockAnswer, BlockQuestion } from './block-worker.js'

const THREADS = Math.max(1, Math.min(4, availableParallelism()))

/** Threads for hashes and parity: as many as there are cores, and no more than four, from when they are needed. The caller closes them. */
export class BlockWorkers {
  readonly #threads: BlockThread[] = []
  #streams = 0

  /** @throws Error when the thread died. */
  ask(question: Exclude<BlockQuestion, { kind: 'drop' }>): Promise<BlockAnswer> {
    return this.#leastBusy().ask(question)
  }

  /** The hash of bytes that come one after the other, beside those of their blocks. End it with the last, or with `drop`. */
  openStream(blockBytes: number): BlockStream {
    const thread = this.#leastBusy()
    const stream = this.#streams++
    thread.streams++
    let isOpen = true
    const close = () => {
      if (isOpen) thread.streams--
      isOpen = false
    }
    return {
      take: async (bytes, isEnd) => {
        const answer = await thread.ask({ kind: 'hash', bytes, blockBytes, stream, isEnd })
        if (isEnd) close()
        return answer
      },
      drop: () => {
        if (isOpen) thread.ask({ kind: 'drop', stream }).catch(() => {})
        close()
      },
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()))
  }

  #leastBusy(): BlockThread {
    const idlest = [...this.#threads].sort((one, other) => one.load - other.load)[0]
    if (idlest && (idlest.load === 0 || this.#threads.length === THREADS)) return idlest
    const thread = new BlockThread()
    this.#threads.push(thread)
    return thread
  }
}

export interface BlockStream {
  /** `sha256` of all is answered with the last. */
  take(bytes: Uint8Array, isEnd: boolean): Promise<BlockAnswer>
  drop(): void
}

class BlockThread {
  streams = 0
  // Without the options and loaders this process was started with: the worker needs none, and some would stop it.
  readonly #worker = new Worker(new URL('./block-worker.js', import.meta.url), { execArgv: [] })
  readonly #waiting: Deferred<BlockAnswer>[] = []
  #reason: unknown = new Error('the thread for hashes has ended')
  #isOver = false

  constructor() {
    this.#worker.on('message', (answer: BlockAnswer) => this.#waiting.shift()?.resolve(answer))
    this.#worker.on('error', (error) => {
      this.#reason = error
    })
    this.#worker.on('exit', () => {
      this.#isOver = true
      for (const { reject } of this.#waiting.splice(0)) reject(this.#reason)
    })
  }

  get load(): number {
    return this.#waiting.length + this.streams
  }

  ask(question: BlockQuestion): Promise<BlockAnswer> {
    if (this.#isOver) return Promise.reject(this.#reason)
    const waiting = deferred<BlockAnswer>()
    this.#waiting.push(waiting)
    this.#worker.postMessage(question)
    return waiting.promise
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }
}
