import { createHash, timingSafeEqual } from 'node:crypto'
import type { Viewer } from '../../images/viewer.js'
import { hashToken } from '../../parts/access-token.js'
import type { Clock } from '../../parts/clock.js'
import { Refusal } from '../answers.js'
import type { Context } from '../every-request.js'
import { ATTEMPTS_AT_A_NAME, ATTEMPTS_OF_AN_ADDRESS, Attempts, addressKey } from './attempts.js'
import type { Authenticator, Principal } from './authenticator.js'
import { verifySignature } from './http-signature.js'
import { PasswordChecks } from './password-checks.js'
import { SignatureFault } from './signature-header.js'
import { UsedSignatures } from './used-signatures.js'
import { loadUsers, type User, type UserSource, type Users } from './users.js'

/** What the operator decided about users. */
export interface UserRules {
  readonly users: readonly UserSource[]
  readonly read: 'open' | 'users'
  /** Whether images that are not public are hidden from those who are nobody. */
  readonly hidesPrivate: boolean
}

export interface UserAuthenticatorOptions extends UserRules {
  readonly readFile: (path: string) => Promise<string>
  readonly clock: Clock
}

/** Any longer one is nobody's. */
const LONGEST_PASSWORD = 1024

/** How long to wait when too many passwords are being checked. */
const CROWDED_WAIT_MS = 1_000

/**
 * Knows users by HTTP Signature, Basic and Bearer, from the configuration and the files it names.
 *
 * Attempts are counted by address and, for passwords, by name. A signature or a token that is right passes all the same:
 * neither can be guessed, and behind a proxy that is not trusted everybody has the address of who guesses. So does a password that was right
 * lately.
 */
export class UserAuthenticator implements Authenticator {
  #options: UserAuthenticatorOptions
  readonly #attemptsOfAddress: Attempts
  readonly #attemptsAtName: Attempts
  readonly #usedSignatures: UsedSignatures
  #users: Users
  #passwords: PasswordChecks

  /** @throws MirrorError CONFIG_INVALID naming a user's file that cannot be read, or is not right. */
  static async open(options: UserAuthenticatorOptions): Promise<UserAuthenticator> {
    return new UserAuthenticator(options, await loadUsers(options.users, options.readFile))
  }

  private constructor(options: UserAuthenticatorOptions, users: Users) {
    const { clock } = options
    this.#options = options
    this.#attemptsOfAddress = new Attempts(ATTEMPTS_OF_AN_ADDRESS, clock)
    this.#attemptsAtName = new Attempts(ATTEMPTS_AT_A_NAME, clock)
    this.#usedSignatures = new UsedSignatures(clock)
    this.#users = users
    this.#passwords = new PasswordChecks(users, clock)
  }

  async user(context: Context): Promise<User> {
    if (this.#users.all.length === 0) {
      throw new Refusal(403, 'ForbiddenError', 'nobody may do this here: no users are configured (publish.users)')
    }
    const user = await this.#identify(context)
    if (!user) throw this.#unauthorized()
    this.#show(context, user)
    return user
  }

  async writer(context: Context): Promise<Principal> {
    const user = await this.user(context)
    if (user.isReadOnly) throw new Refusal(403, 'ForbiddenError', `user ${user.name} may read only`)
    return user
  }

  async reader(context: Context): Promise<Principal | undefined> {
    const isOpen = this.#options.read === 'open'
    // Whose source url has a name and a password in it sends them to everybody.
    const user = isOpen && this.#users.all.length === 0 ? undefined : await this.#identify(context)
    if (!user && !isOpen) throw this.#unauthorized()
    this.#show(context, user)
    return user
  }

  async fileReader(context: Context): Promise<Principal | undefined> {
    const { hidesPrivate, read } = this.#options
    if (read === 'open' && !hidesPrivate) {
      this.#show(context, undefined)
      return undefined
    }
    return await this.reader(context)
  }

  passerBy(): Viewer | undefined {
    return this.#options.read === 'open' ? this.#viewerOf(undefined) : undefined
  }

  async reload(): Promise<void> {
    const change = await this.prepare(this.#options)
    change()
  }

  /**
   * Reads the files of other users. The answer puts them in the place of those we have; attempts stay counted, and signatures used.
   * @throws MirrorError CONFIG_INVALID as `open`.
   */
  async prepare(rules: UserRules): Promise<() => void> {
    const users = await loadUsers(rules.users, this.#options.readFile)
    return () => {
      this.#options = { ...this.#options, ...rules }
      this.#users = users
      this.#passwords = new PasswordChecks(users, this.#options.clock)
    }
  }

  #show({ state }: Context, user: User | undefined): void {
    state.principal = user
    state.viewer = this.#viewerOf(user)
  }

  #viewerOf(user: User | undefined): Viewer {
    return { isKnown: user !== undefined, seesPrivate: user !== undefined || !this.#options.hidesPrivate }
  }

  /**
   * Answers `undefined` when no proof is given.
   * @throws Refusal 401 for a wrong one, 429.
   */
  async #identify(context: Context): Promise<User | undefined> {
    const { authorization } = context.req.headers
    if (authorization === undefined || authorization === '') return undefined
    const address = addressKey(context.state.client)
    const [scheme = '', credentials = ''] = authorization.split(/ +(.*)/s)
    return await this.#prove(context, scheme.toLowerCase(), credentials, address)
  }

  async #prove(context: Context, scheme: string, credentials: string, address: string): Promise<User> {
    if (scheme === 'basic') return await this.#byPassword(context, credentials, address)
    const user = scheme === 'bearer' ? this.#byToken(credentials) : this.#bySignature(context, address)
    if (user) return user
    this.#refuseTooMany(this.#attemptsOfAddress.waitMs(address))
    this.#attemptsOfAddress.fail(address)
    throw this.#refused(context, scheme, undefined)
  }

  #byToken(token: string): User | undefined {
    const hash = hashToken(token)
    let found: User | undefined
    // All of them, also when one is found.
    for (const user of this.#users.all) if (user.tokenHash && timingSafeEqual(hash, user.tokenHash)) found = user
    return found
  }

  #bySignature({ req }: Context, address: string): User | undefined {
    try {
      const proven = verifySignature(req, this.#users, this.#options.clock.wallMs())
      if (!proven) return undefined
      const changesNothing = req.method === 'GET' || req.method === 'HEAD'
      if (changesNothing || this.#usedSignatures.use(proven.signed, address)) return proven.user
      throw new SignatureFault('signature was used before')
    } catch (error) {
      if (error instanceof SignatureFault) throw this.#unauthorized(error.message)
      throw error
    }
  }

  async #byPassword(context: Context, credentials: string, address: string): Promise<User> {
    const text = Buffer.from(credentials, 'base64').toString()
    const colon = text.indexOf(':')
    const [name, password] = [text.slice(0, colon), text.slice(colon + 1)]
    if (colon === -1 || password.length > LONGEST_PASSWORD) throw this.#unauthorized()
    const passwords = this.#passwords
    const proven = passwords.proven(name, password)
    if (proven) return proven

    // A name may be as long as a header; so it is its hash that is remembered.
    const nameKey = createHash('sha256').update(name).digest('base64')
    let isCounted = false
    const user = await passwords.check(name, password, () => {
      this.#refuseTooMany(this.#attemptsOfAddress.waitMs(address), this.#attemptsAtName.waitMs(nameKey))
      if (passwords.isCrowded) this.#refuseTooMany(CROWDED_WAIT_MS)
      // Noted before it is known, so that many at once are no way around the bound.
      this.#attemptsOfAddress.fail(address)
      this.#attemptsAtName.fail(nameKey)
      isCounted = true
    })
    if (!user) throw this.#refused(context, 'basic', this.#users.named(name))
    if (isCounted) {
      this.#attemptsOfAddress.forgive(address)
      this.#attemptsAtName.forgive(nameKey)
    }
    return user
  }

  #refuseTooMany(...waitsMs: readonly number[]): void {
    const waitS = Math.ceil(Math.max(...waitsMs) / 1000)
    if (waitS <= 0) return
    throw new Refusal(429, 'TooManyRequestsError', `too many attempts: try again in ${waitS} s`, {
      headers: { 'Retry-After': String(waitS) },
    })
  }

  /** A name that nobody has is not logged: it may be a password in the wrong place. */
  #refused({ state }: Context, scheme: string, claimed: User | undefined): Refusal {
    const isKnown = scheme === 'basic' || scheme === 'bearer'
    state.log.info(
      { client: state.client, scheme: isKnown ? scheme : 'signature', ...(claimed && { user: claimed.name }) },
      'who asks could not prove who they are',
    )
    return this.#unauthorized()
  }

  /**
   * The reference sends no challenge; curl, skopeo and browsers wait for one, and imgadm does not mind. There is none for
   * tokens: clients of registries would take it for the address of a server that gives tokens out.
   */
  #unauthorized(message = 'Unauthorized'): Refusal {
    const takesPasswords = this.#users.all.some(({ passwordHash, tokenHash }) => passwordHash ?? tokenHash)
    const challenge = takesPasswords
      ? 'Basic realm="imgapi-mirror", charset="UTF-8"'
      : 'Signature realm="imgapi-mirror",headers="date"'
    return new Refusal(401, 'UnauthorizedError', message, { headers: { 'WWW-Authenticate': challenge } })
  }
}
