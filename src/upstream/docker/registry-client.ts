import { isMirrorError } from '../../errors.js'
import { isRepositoryName, isTag } from '../../images/docker/reference.js'
import { parseRegistryDigest } from '../../images/docker/registry-digest.js'
import {
  MANIFEST_TYPES,
  MAX_REGISTRY_JSON_BYTES,
  type ManifestIdentity,
  parseRegistryManifest,
  type RegistryManifest,
} from '../../images/docker/registry-manifest.js'
import { isJsonObject } from '../../parts/json-object.js'
import { parseContentRange } from '../content-range.js'
import { readBytes, readJson } from '../get-json.js'
import type { Answer, Asker, HttpClient, Question } from '../http-client.js'
import type { RegistryObject, RegistryObjectRef } from '../registry-upstream.js'
import type { Priority } from '../upstream.js'
import type { Authenticator, Proof } from './authenticator.js'
import type { PullAllowance } from './pull-allowance.js'

/** First with what we have, then with what another has just got, then with what is made for us. */
const PROOFS_LIMIT = 3
const REDIRECTS = [301, 302, 303, 307, 308]
/** No such thing, or not for us: registries do not like to say which. */
const ABSENT = [401, 403, 404]
/** The most a registry lets one ask for, and the least it may answer. */
const TAGS_A_PAGE = 1000
const TAG_PAGES_LIMIT = 1000
const TAG_PAGE_BYTES = 4 * 1024 * 1024
/** A repository with more is a build log. */
export const TAGS_LIMIT = 50_000

export interface Asking {
  readonly priority: Priority
  readonly signal: AbortSignal
}

export interface FetchedManifest {
  readonly object: RegistryObject
  readonly parsed: RegistryManifest & ManifestIdentity
}

/**
 * Speaks the registry protocol (OCI distribution, Docker Registry HTTP API v2) with one registry: logs in where it must,
 * and checks all that it answers.
 *
 * Everything throws as `HttpClient.ask`; `undefined` means that there is no such thing, or that it is denied us.
 */
export class RegistryClient {
  readonly #client: HttpClient
  readonly #auth: Authenticator
  readonly #allowance: PullAllowance
  /** Of its urls: scheme, host and port. */
  readonly #origin: string
  #hasAnswered = false

  constructor(client: HttpClient, auth: Authenticator, allowance: PullAllowance, origin: string) {
    this.#client = client
    this.#auth = auth
    this.#allowance = allowance
    this.#origin = origin
  }

  /** Asks once whether this is a registry at all: otherwise every tag of it would be reported missing. */
  async ping({ priority, signal }: Asking): Promise<void> {
    if (this.#hasAnswered) return
    const url = new URL('/v2/', this.#origin)
    const answer = await this.#client.ask(url, { kind: 'json', statuses: [200, 401, 403, 404], priority, signal })
    const { status } = answer
    await answer.discard()
    if (status === 404) throw this.#client.blame.misbehaved(url, 'is no Docker registry: it has no /v2/')
    this.#hasAnswered = true
  }

  /** `undetermined` where the registry does not say what a manifest's digest is without sending it. */
  async headManifest(
    repository: string,
    reference: string,
    { priority, signal }: Asking,
  ): Promise<RegistryObjectRef | 'undetermined' | undefined> {
    const answer = await this.#askManifest('HEAD', repository, reference, { priority, signal }, [405, 501])
    if (!answer) return undefined
    await answer.discard()
    if (answer.status !== 200) return 'undetermined'
    const digest = answer.header('docker-content-digest')
    const mediaType = mediaTypeOf(answer)
    const length = answer.header('content-length')
    if (!parseRegistryDigest(digest) || mediaType === undefined || !/^\d{1,10}$/.test(length ?? ''))
      return 'undetermined'
    if (parseRegistryDigest(reference) && digest !== reference) {
      throw this.#client.blame.misbehaved(answer.url, `answers ${digest} for it`)
    }
    return { digest: digest!, mediaType, sizeBytes: Number(length) }
  }

  async getManifest(repository: string, reference: string, asking: Asking): Promise<FetchedManifest | undefined> {
    const answer = await this.#askManifest('GET', repository, reference, asking, [])
    if (!answer) return undefined
    const { blame } = this.#client
    const bytes = await readBytes(this.#client, answer, { limitBytes: MAX_REGISTRY_JSON_BYTES, signal: asking.signal })
    const parsed = this.#checked(answer.url, () => parseRegistryManifest(bytes, answer.header('content-type')))
    const { digest, mediaType } = parsed
    const promised = parseRegistryDigest(reference) ? reference : answer.header('docker-content-digest')
    if (promised !== undefined && promised !== digest) {
      throw blame.misbehaved(answer.url, `promises ${promised.slice(0, 100)} and sends ${digest}`)
    }
    return { object: { digest, mediaType, sizeBytes: bytes.length, bytes }, parsed }
  }

  /** A small blob, whole: it has the size and the digest that its descriptor says. */
  async getSmallBlob(
    repository: string,
    { digest, sizeBytes }: { digest: string; sizeBytes: number },
    { priority, signal }: Asking,
  ): Promise<Buffer | undefined> {
    const url = this.blobUrl(repository, digest)
    const asker = this.askerFor(repository)
    const answer = await asker.ask(url, { kind: 'file', statuses: [200, ...ABSENT], priority, signal })
    if (answer.status !== 200) {
      await answer.discard()
      return undefined
    }
    return await readBytes(asker, answer, { limitBytes: sizeBytes, signal })
  }

  /** The size of a blob in bytes. */
  async headBlob(repository: string, digest: string, { priority, signal }: Asking): Promise<number | undefined> {
    const url = this.blobUrl(repository, digest)
    const asker = this.askerFor(repository)
    const answer = await asker.ask(url, {
      kind: 'file',
      method: 'HEAD',
      // Not followed: a signed url is signed for GET.
      statuses: [200, 405, 501, ...ABSENT, ...REDIRECTS],
      priority,
      signal,
    })
    await answer.discard()
    if (ABSENT.includes(answer.status)) return undefined
    const length = answer.status === 200 ? lengthOf(answer) : undefined
    return length ?? (await this.#sizeByRange(asker, url, { priority, signal }))
  }

  /** All tags of a repository, sorted. What does not look like a tag is left out. */
  async listTags(repository: string, { priority, signal }: Asking): Promise<readonly string[] | undefined> {
    if (!isRepositoryName(repository)) return undefined
    const asker = this.askerFor(repository)
    const { blame } = this.#client
    const first = new URL(`/v2/${repository}/tags/list?n=${TAGS_A_PAGE}`, this.#origin)
    const tags = new Set<string>()
    for (let url = first, pages = 1; ; pages++) {
      const answer = await asker.ask(url, { kind: 'json', statuses: [200, ...ABSENT], priority, signal })
      if (answer.status !== 200) {
        await answer.discard()
        return undefined
      }
      const value = await readJson(asker, answer, { limitBytes: TAG_PAGE_BYTES, signal })
      const page = isJsonObject(value) ? (value.tags ?? []) : undefined
      if (!Array.isArray(page)) throw blame.misbehaved(url, 'answers no list of tags')
      const before = tags.size
      for (const tag of page) if (typeof tag === 'string' && isTag(tag)) tags.add(tag)
      if (tags.size > TAGS_LIMIT) throw blame.misbehaved(first, `has more than ${TAGS_LIMIT} tags`)
      const next = this.#nextPage(answer, url)
      if (!next) return [...tags].sort()
      if (pages === TAG_PAGES_LIMIT || tags.size === before) throw blame.misbehaved(first, 'lists its tags without end')
      url = next
    }
  }

  blobUrl(repository: string, digest: string): URL {
    // Checked wherever they came from; once more, since a url is made of them.
    if (!isRepositoryName(repository) || !parseRegistryDigest(digest)) {
      throw new RangeError(`no blob: ${repository} ${digest}`)
    }
    return new URL(`/v2/${repository}/blobs/${digest}`, this.#origin)
  }

  /** Asks as somebody who may pull from this repository. */
  askerFor(repository: string): Asker {
    const { blame } = this.#client
    return { blame, ask: (url, question) => this.#ask(url, question, `repository:${repository}:pull`) }
  }

  /** Our proof may be over at any time, also between two pieces of one file: then another one is made. */
  async #ask(url: URL, question: Question, scope: string): Promise<Answer> {
    const { signal, statuses } = question
    let proof: Proof | undefined = await this.#auth.proofFor(scope, signal)
    for (let proofs = 1; ; proofs++) {
      const authorization = proof?.authorization
      const answer = await this.#client.ask(url, { ...question, authorization, statuses: [...statuses, 401] })
      if (answer.status !== 401) return answer
      await answer.discard()
      const isRegistry = answer.url.origin === this.#origin
      const isOver = !isRegistry || proofs === PROOFS_LIMIT
      proof = isOver ? undefined : await this.#auth.proofAfter(answer, scope, authorization, signal)
      if (proof && proof.authorization !== authorization) continue
      if (isRegistry && statuses.includes(401)) return answer
      throw this.#client.blame.ofStatus(answer.url, 401, { message: undefined, retryAfter: undefined })
    }
  }

  async #askManifest(
    method: 'GET' | 'HEAD',
    repository: string,
    reference: string,
    { priority, signal }: Asking,
    further: readonly number[],
  ): Promise<Answer | undefined> {
    const isUsable = isRepositoryName(repository) && (isTag(reference) || parseRegistryDigest(reference) !== undefined)
    if (!isUsable) return undefined
    this.#allowance.admit(method === 'GET', priority)
    const url = new URL(`/v2/${repository}/manifests/${reference}`, this.#origin)
    const answer = await this.askerFor(repository).ask(url, {
      kind: 'json',
      method,
      // Its digest is that of the bytes as they are.
      headers: { accept: MANIFEST_TYPES.join(', '), 'accept-encoding': 'identity' },
      statuses: [200, 429, ...ABSENT, ...further],
      pace: this.#allowance,
      priority,
      signal,
    })
    if (answer.status === 429) {
      await answer.discard()
      throw this.#allowance.refusal()
    }
    if (!ABSENT.includes(answer.status)) return answer
    await answer.discard()
    return undefined
  }

  async #sizeByRange(asker: Asker, url: URL, { priority, signal }: Asking): Promise<number | undefined> {
    const headers = { range: 'bytes=0-0' }
    const answer = await asker.ask(url, { kind: 'file', headers, statuses: [200, 206, ...ABSENT], priority, signal })
    answer.body.destroy()
    if (answer.status === 206) return parseContentRange(answer.header('content-range'))?.totalBytes
    return answer.status === 200 ? lengthOf(answer) : undefined
  }

  /** Where `Link` says the list goes on, which must be the same list. */
  #nextPage(answer: Answer, url: URL): URL | undefined {
    const [, target] = /^\s*<([^<>]{1,4096})>\s*;(?:[^,]*;)?\s*rel="?next"?/i.exec(answer.header('link') ?? '') ?? []
    if (target === undefined) return undefined
    const { blame } = this.#client
    if (!URL.canParse(target, url.href)) throw blame.misbehaved(url, 'has a next page that is nowhere')
    const next = new URL(target, url)
    if (next.origin === this.#origin && next.pathname === url.pathname) return next
    throw blame.misbehaved(
      url,
      `has its next page at ${next.origin}${next.pathname.slice(0, 200)}, which is not its own`,
    )
  }

  #checked<Value>(url: URL, parse: () => Value): Value {
    try {
      return parse()
    } catch (cause) {
      if (!isMirrorError(cause, 'MANIFEST_INVALID')) throw cause
      throw this.#client.blame.misbehaved(url, cause.message, { cause })
    }
  }
}

function lengthOf(answer: Answer): number | undefined {
  const length = answer.header('content-length')
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined
}

function mediaTypeOf(answer: Answer): string | undefined {
  const [type] = (answer.header('content-type') ?? '').toLowerCase().split(/\s*;/)
  return MANIFEST_TYPES.find((known) => known === type)
}
