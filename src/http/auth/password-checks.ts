import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import PQueue from 'p-queue'
import { hashToken } from '../../parts/access-token.js'
import type { Clock } from '../../parts/clock.js'
import { isPassword } from '../../parts/password-hash.js'
import { SingleFlight } from '../../parts/single-flight.js'
import type { User, Users } from './users.js'

/** How long a password that was right is known again without the work: imgadm sends it with every request. */
const PROVEN_FOR_MS = 10 * 60_000
const MOST_PROVEN = 1_000

/** Each takes a thread of the four that files are read with, and 16 MiB. */
const AT_ONCE = 2
const MOST_WAITING = 32

/**
 * Compares passwords with what is kept of them. A user's token is as good as their password, for clients that know Basic
 * only.
 */
export class PasswordChecks {
  readonly #users: Users
  readonly #clock: Pick<Clock, 'steadyMs'>
  /** When it was proved, by a keyed hash of name and password. */
  readonly #proven = new LRUCache<string, number>({ max: MOST_PROVEN })
  readonly #checking = new SingleFlight<string, User | undefined>()
  readonly #queue = new PQueue({ concurrency: AT_ONCE })
  readonly #secret = randomBytes(32)

  constructor(users: Users, clock: Pick<Clock, 'steadyMs'>) {
    this.#users = users
    this.#clock = clock
  }

  /** Whether so many wait that one more would only make it worse. */
  get isCrowded(): boolean {
    return this.#queue.size >= MOST_WAITING
  }

  /** Who it is, if that was proved lately. */
  proven(name: string, password: string): User | undefined {
    const provenMs = this.#proven.get(this.#keyOf(name, password))
    const isFresh = provenMs !== undefined && this.#clock.steadyMs() - provenMs < PROVEN_FOR_MS
    return isFresh ? this.#users.named(name) : undefined
  }

  /**
   * Takes as long for a name that nobody has as for a wrong password. Who asks the same at the same time shares the work.
   * @param onStart called before there is work to do; may throw to prevent it.
   */
  async check(name: string, password: string, onStart: () => void): Promise<User | undefined> {
    const key = this.#keyOf(name, password)
    const user = await this.#checking.do(key, async () => {
      onStart()
      return await this.#queue.add(() => this.#compare(name, password))
    })
    if (user) this.#proven.set(key, this.#clock.steadyMs())
    return user
  }

  async #compare(name: string, password: string): Promise<User | undefined> {
    const user = this.#users.named(name)
    const isToken = timingSafeEqual(hashToken(password), user?.tokenHash ?? NO_HASH)
    if (user && isToken) return user
    const hash = this.#users.passwordHashFor(name)
    const isRight = hash !== undefined && (await isPassword(password, hash))
    return isRight && user?.passwordHash !== undefined ? user : undefined
  }

  #keyOf(name: string, password: string): string {
    return createHmac('sha256', this.#secret).update(`${name}:${password}`).digest('base64')
  }
}

/** Nothing that anybody knows has this hash. */
const NO_HASH = Buffer.alloc(32)
