import type { Log } from '../../parts/log.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import type { UnsettledStore } from '../../store/unsettled-store.js'

/** More come together only when a disk refuses for long to let go of anything. The rest stays after a crash, as litter. */
const MOST_REMEMBERED = 10_000

/**
 * Files that may belong to no image at this moment, by their sha256: written down before they are kept, or before the image that has
 * them is gone, and until it is clear whose they are or they have left.
 */
export class UnsettledFiles {
  readonly #store: UnsettledStore
  readonly #log: Log
  readonly #writing = new OneAtATime()
  /** How many are at work with each; 0 for one that nobody is and that could not leave. */
  readonly #users = new Map<string, number>()
  #isWritten = true

  constructor(store: UnsettledStore, log: Log) {
    this.#store = store
    this.#log = log
  }

  /** Brings back what a crash has left. Answers it. */
  async start(): Promise<readonly string[]> {
    const sha256s = await this.#store.load()
    for (const sha256 of sha256s) this.#users.set(sha256, 0)
    return sha256s
  }

  /** To be followed by `release`, as often. That it cannot be written is in the log: only a crash would make it matter. */
  async note(sha256s: readonly string[]): Promise<void> {
    for (const sha256 of sha256s) {
      const users = this.#users.get(sha256)
      if (users === undefined && this.#users.size >= MOST_REMEMBERED) continue
      if (users === undefined) this.#isWritten = false
      this.#users.set(sha256, (users ?? 0) + 1)
    }
    await this.#write()
  }

  /** @param isSettled whether it has left, or is some image's. One that is not stays written down for the next start. */
  async release(sha256: string, isSettled: boolean): Promise<void> {
    const users = this.#users.get(sha256)
    if (users === undefined) return
    if (users > 1 || !isSettled) this.#users.set(sha256, Math.max(0, users - 1))
    else {
      this.#users.delete(sha256)
      this.#isWritten = false
    }
    await this.#write()
  }

  /** Whoever comes while it is being written waits for the next writing, which has everything. */
  #write(): Promise<void> {
    return this.#writing.run(async () => {
      if (this.#isWritten) return
      this.#isWritten = true
      try {
        await this.#store.save([...this.#users.keys()])
      } catch (error) {
        this.#isWritten = false
        this.#log.warn({ err: error }, 'a crash would leave files behind that no image needs')
      }
    })
  }
}
