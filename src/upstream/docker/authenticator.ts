import { LRUCache } from 'lru-cache'
import { abortable } from '../../parts/abortable.js'
import type { Clock } from '../../parts/clock.js'
import { isJsonObject } from '../../parts/json-object.js'
import { SingleFlight } from '../../parts/single-flight.js'
import { readJson } from '../get-json.js'
import { type Answer, basicAuthorization, type HttpClient } from '../http-client.js'
import { type Challenge, parseChallenges } from './challenges.js'
import type { Credentials } from './credentials.js'

/** One for each repository that is asked for something. */
const TOKENS_LIMIT = 1000
/** A token is not used in the last of its seconds: it must still hold when it arrives. */
const TOKEN_MARGIN_MS = 10_000
/** Shorter is not believed, by the specification; longer is not worth anything. */
const SHORTEST_TOKEN_SECONDS = 60
const LONGEST_TOKEN_SECONDS = 24 * 60 * 60
const TOKEN_DOCUMENT_BYTES = 64 * 1024
const TOKEN_CHARACTERS = /^[\x21-\x7e]{1,32768}$/
const REALM_CHARACTERS_LIMIT = 2048
const SCOPES_LIMIT = 8
/** Realms that belong to a registry of another name. */
const KNOWN_REALMS = new Map([['docker.io', 'https://auth.docker.io']])
/** As containerd and docker name themselves where a form of OAuth 2 wants to know. */
const CLIENT_ID = 'imgapi-mirror'

export interface AuthenticatorOptions {
  readonly client: HttpClient
  /** As clients name the registry. */
  readonly host: string
  /** Of its urls. */
  readonly origin: string
  /** Origins that may get its credentials too, and may be asked for tokens wherever they are. */
  readonly authHosts: readonly string[]
  /** Without them, we are anonymous. */
  readonly credentials: Credentials | undefined
  readonly clock: Clock
}

/** Where a token is to be had, and what for. */
interface TokenPlan {
  readonly realm: URL
  readonly service: string | undefined
  readonly scopes: readonly string[]
}

interface Token {
  readonly authorization: string
  /** By the steady clock. */
  readonly untilMs: number
}

export interface Proof {
  readonly authorization: string
  /** Just made: whoever refuses this one means us. */
  readonly isFresh: boolean
}

/**
 * Logs in to one registry, as Docker's clients do: by token, for each repository one, or by password.
 *
 * Credentials are shown to the registry itself, to its known realm, and to `authHosts`; all else that a registry may name
 * as its realm gets none. Anonymously a token may be asked of any public https server, and of no other: a registry must not
 * send us to doors of our own network.
 *
 * Source: distribution/distribution, docs/content/spec/auth (token.md, jwt.md, oauth.md, scope.md).
 */
export class Authenticator {
  readonly #options: AuthenticatorOptions
  /** By what identifies them: realm, service, scopes. The user is always the same. */
  readonly #tokens = new LRUCache<string, Token>({ max: TOKENS_LIMIT })
  /** By the scope we wanted: what the registry said it takes for that. */
  readonly #plans = new LRUCache<string, TokenPlan>({ max: TOKENS_LIMIT })
  /** The last plan made: another repository's will be like it. */
  #usual: TokenPlan | undefined
  #isBasic = false
  readonly #flights = new SingleFlight<string, Token | undefined>()
  readonly #closing = new AbortController()

  constructor(options: AuthenticatorOptions) {
    this.#options = options
  }

  /**
   * What to show unasked, for `scope` (`repository:NAME:pull`): nothing until the registry has said once what it wants.
   * @throws MirrorError as `HttpClient.ask`
   */
  async proofFor(scope: string, signal: AbortSignal): Promise<Proof | undefined> {
    if (this.#isBasic) return this.#basic()
    const known = this.#plans.get(scope)
    const plan = known ?? (this.#usual && { ...this.#usual, scopes: [scope] })
    return plan && (await this.#proof(plan, undefined, signal))
  }

  /**
   * What to show after a 401; `undefined` when there is nothing more to show: we are denied.
   * @param refused what was shown.
   * @throws MirrorError UPSTREAM_UNREACHABLE when it wants credentials we do not have, or refuses those we have;
   *   UPSTREAM_MISBEHAVED when its realm cannot be trusted; as `HttpClient.ask`.
   */
  async proofAfter(answer: Answer, scope: string, refused: string | undefined, signal: AbortSignal) {
    const challenges = parseChallenges(answer.headers('www-authenticate'))
    const bearer = challenges.find(({ parameters, scheme }) => scheme === 'bearer' && parameters.has('realm'))
    if (bearer) {
      const plan = this.#planOf(answer, bearer, scope)
      this.#isBasic = false
      this.#usual = plan
      this.#plans.set(scope, plan)
      return await this.#proof(plan, refused, signal)
    }
    if (!challenges.some(({ scheme }) => scheme === 'basic')) return undefined
    const { blame } = this.#options.client
    const basic = this.#basic()
    if (!basic) throw blame.unreachable(answer.url, 'wants a user name and a password, and none is configured')
    if (basic.authorization === refused) throw blame.unreachable(answer.url, 'refuses the configured credentials')
    this.#isBasic = true
    return basic
  }

  /** Ends what is under way. */
  close(reason: Error): void {
    this.#closing.abort(reason)
  }

  #basic(): Proof | undefined {
    const { credentials } = this.#options
    if (credentials?.kind !== 'password') return undefined
    return { authorization: basicAuthorization(credentials.username, credentials.password), isFresh: true }
  }

  #planOf(answer: Answer, { parameters }: Challenge, scope: string): TokenPlan {
    const { blame } = this.#options.client
    const text = parameters.get('realm')!
    const named = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`
    if (text.length > REALM_CHARACTERS_LIMIT || !URL.canParse(named)) {
      throw blame.misbehaved(answer.url, 'sends us to a realm for tokens that is no address')
    }
    const realm = new URL(named)
    realm.username = ''
    realm.password = ''
    realm.hash = ''
    const objection = this.#objectionTo(realm)
    if (objection) throw blame.misbehaved(answer.url, objection)
    return { realm, service: parameters.get('service'), scopes: scopesFor(scope, parameters.get('scope')) }
  }

  #objectionTo(realm: URL): string | undefined {
    const { authHosts, client, credentials, host, origin } = this.#options
    const { origin: ofRealm, protocol } = realm
    const isOurs = ofRealm === origin || authHosts.includes(ofRealm) || KNOWN_REALMS.get(host) === ofRealm
    // The same server by another scheme, if that is the better one.
    if (isOurs || (protocol === 'https:' && realm.host === new URL(origin).host)) return undefined
    const right = 'if that is right, name it in authHosts'
    if (credentials) return `sends us to ${ofRealm} for tokens, which may not get our credentials; ${right}`
    return client.isPublic(realm) ? undefined : `sends us to ${ofRealm} for tokens, which is not allowed; ${right}`
  }

  async #proof(plan: TokenPlan, refused: string | undefined, signal: AbortSignal): Promise<Proof | undefined> {
    const key = JSON.stringify([plan.realm.href, plan.service, plan.scopes])
    const kept = this.#tokens.get(key)
    if (kept && kept.authorization !== refused && this.#options.clock.steadyMs() < kept.untilMs) {
      return { authorization: kept.authorization, isFresh: false }
    }
    // Those who wait for it may leave; it is made for all of them.
    const making = this.#flights.do(key, () => this.#make(plan, key))
    const made = await abortable(making, signal)
    return made && { authorization: made.authorization, isFresh: true }
  }

  async #make(plan: TokenPlan, key: string): Promise<Token | undefined> {
    const { clock, credentials } = this.#options
    const askedMs = clock.steadyMs()
    const answer =
      credentials?.kind === 'identity' ? await this.#askByIdentity(plan, credentials) : await this.#askByGet(plan)
    if (answer.status !== 200) {
      await answer.discard()
      // ghcr.io refuses the token itself for what anonymous users may not see, and for what does not exist.
      if (answer.status === 401 && credentials) {
        throw this.#options.client.blame.unreachable(answer.url, 'refuses the configured credentials')
      }
      return undefined
    }
    const token = await this.#read(answer, askedMs)
    this.#tokens.set(key, token)
    return token
  }

  async #askByGet({ realm, scopes, service }: TokenPlan): Promise<Answer> {
    const { client, credentials } = this.#options
    const url = new URL(realm)
    if (service !== undefined) url.searchParams.set('service', service)
    for (const scope of scopes) url.searchParams.append('scope', scope)
    if (credentials?.username) url.searchParams.set('account', credentials.username)
    return await client.ask(url, {
      kind: 'json',
      statuses: [200, 401, 403, 404],
      ...(credentials && { authorization: basicAuthorization(credentials.username, secretOf(credentials)) }),
      signal: this.#closing.signal,
    })
  }

  async #askByIdentity(plan: TokenPlan, { identityToken }: Credentials & { kind: 'identity' }): Promise<Answer> {
    const { realm, scopes, service } = plan
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: CLIENT_ID,
      refresh_token: identityToken,
    })
    if (service !== undefined) form.set('service', service)
    form.set('scope', scopes.join(' '))
    const answer = await this.#options.client.ask(realm, {
      kind: 'json',
      method: 'POST',
      body: form.toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      statuses: [200, 401, 403, 404, 405],
      signal: this.#closing.signal,
    })
    if (answer.status !== 404 && answer.status !== 405) return answer
    // It does not know OAuth 2; as a password the same token may do.
    await answer.discard()
    return await this.#askByGet(plan)
  }

  async #read(answer: Answer, askedMs: number): Promise<Token> {
    const { client, clock } = this.#options
    const limits = { limitBytes: TOKEN_DOCUMENT_BYTES, signal: this.#closing.signal }
    const value = await readJson(client, answer, limits)
    const token = isJsonObject(value) ? (value.token ?? value.access_token) : undefined
    if (!isJsonObject(value) || typeof token !== 'string' || !TOKEN_CHARACTERS.test(token)) {
      throw client.blame.misbehaved(answer.url, 'answers no token')
    }
    const { expires_in: told, issued_at: issuedAt } = value
    const seconds = typeof told === 'number' && Number.isFinite(told) ? told : SHORTEST_TOKEN_SECONDS
    const lifeMs = Math.min(Math.max(seconds, SHORTEST_TOKEN_SECONDS), LONGEST_TOKEN_SECONDS) * 1000
    // A server may hand out a token for the second time. Its clock may be wrong, too: what is to come is not believed.
    const issuedMs = typeof issuedAt === 'string' ? Date.parse(issuedAt) : Number.NaN
    const ageMs = Number.isNaN(issuedMs) ? 0 : Math.max(0, clock.wallMs() - issuedMs)
    return { authorization: `Bearer ${token}`, untilMs: askedMs + lifeMs - ageMs - TOKEN_MARGIN_MS }
  }
}

/**
 * What to ask a token for: what the registry names, as far as it is about our repository and about pulling, or is no
 * repository's at all (Amazon's is `aws`). A registry that asks us to get it a token for another one gets none.
 */
function scopesFor(own: string, named: string | undefined): string[] {
  const foreign = (named ?? '').split(' ').filter((scope) => scope !== '' && !/^(?:repository|registry):/.test(scope))
  return foreign.length > 0 ? foreign.slice(0, SCOPES_LIMIT) : [own]
}

function secretOf(credentials: Credentials): string {
  return credentials.kind === 'password' ? credentials.password : credentials.identityToken
}
