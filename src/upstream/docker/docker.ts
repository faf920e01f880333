import { isMirrorError, MirrorError } from '../../errors.js'
import { MAX_ANCESTRY } from '../../images/ancestry.js'
import type { SetAside, Statement } from '../../images/claim.js'
import { type ImageSelection, repositoryAt, selectTags } from '../../images/docker/image-selection.js'
import { mapDockerImage, uuidOfLayers } from '../../images/docker/layer-images.js'
import { localNameOf } from '../../images/docker/reference.js'
import { parseRegistryAddress } from '../../images/docker/registry-address.js'
import { parseRegistryDigest } from '../../images/docker/registry-digest.js'
import type { Platform } from '../../images/docker/registry-manifest.js'
import { parseManifest } from '../../images/parse-manifest.js'
import type { Uuid } from '../../images/uuid.js'
import { systemClock } from '../../parts/clock.js'
import { forEachConcurrently } from '../../parts/for-each-concurrently.js'
import { type FileQuestion, getFile } from '../get-file.js'
import type { UnguardedUpstream } from '../guarded-upstream.js'
import type { HttpClient } from '../http-client.js'
import type { Line } from '../line.js'
import { makeHttpClient } from '../make-http-client.js'
import { NotAsked } from '../not-asked.js'
import { Selection } from '../read-manifest.js'
import type {
  RegistryImage,
  RegistryMemory,
  RegistryObject,
  RegistryObjectRef,
  RegistryUpstream,
} from '../registry-upstream.js'
import type { FileBody, FileRequest, Listing, PullLimit } from '../upstream.js'
import { noUpstreamCounters } from '../upstream-counters.js'
import type { UpstreamOptions } from '../upstream-options.js'
import { Authenticator } from './authenticator.js'
import { type Credentials, credentialsFrom } from './credentials.js'
import { ImageResolver, type ResolvedImage } from './image-resolver.js'
import { type FollowedTag, OfferMaker, statementOf } from './offer.js'
import { PullAllowance } from './pull-allowance.js'
import { type Asking, RegistryClient } from './registry-client.js'
import { parseWhereabouts } from './whereabouts.js'

/** Tags asked for at the same time, within what the upstream's `connections` allow. */
const TAGS_AT_ONCE = 4
/** Tags of one upstream that are followed. What is selected beyond is set aside. */
const FOLLOWED_LIMIT = 2_000
/** After so many tags that the registry failed to answer for, the others are not asked for in this round. */
const FAILURES_LIMIT = 3
const LINUX_AMD64: Platform = { os: 'linux', architecture: 'amd64' }

/** A tag to follow, before anybody was asked what it means. */
interface Wanted {
  readonly repository: string
  readonly tag: string
}

/** One round of asking what tags mean. */
interface Round {
  /** By the place in what was wanted, so that the order of the configuration stays. */
  readonly followed: Map<number, FollowedTag>
  readonly setAside: SetAside[]
  readonly failures: MirrorError[]
}

/**
 * A Docker registry: of the tags that configuration names, every layer becomes an image. It is never asked for lists of
 * repositories, which the large ones do not give.
 */
export class DockerUpstream implements UnguardedUpstream {
  readonly name: string
  readonly url: string
  readonly #selection: Selection
  readonly registry: RegistryUpstream
  readonly #host: string
  readonly #platform: Platform
  readonly #options: UpstreamOptions
  readonly #selections: readonly ImageSelection[]
  readonly #client: HttpClient
  readonly #auth: Authenticator
  readonly #allowance: PullAllowance
  readonly #registryClient: RegistryClient
  readonly #resolver: ImageResolver
  readonly #offers: OfferMaker
  /** From the last round, by `repository digest`: what need not be followed again. */
  #resolved: ReadonlyMap<string, ResolvedImage> = new Map()
  /** From the last list, filters aside. `undefined` before the first. */
  #images: ReadonlyMap<Uuid, Statement> | undefined
  /** From the last list, for each selection that takes the newest: which those were. */
  readonly #newest = new Map<ImageSelection, ReadonlySet<string>>()

  /** @throws MirrorError CONFIG_INVALID for an address, certificates, proxies or credentials that cannot be used. */
  constructor(options: UpstreamOptions, line: Line) {
    const { host, url } = addressOf(options)
    const origin = new URL(url).origin
    const { authHosts = [], clock = systemClock, counters = noUpstreamCounters, log, name } = options
    const credentials = credentialsOf(options, host)
    this.name = name
    this.url = origin
    this.#selection = new Selection(options)
    this.#host = host
    this.#platform = options.platform ?? LINUX_AMD64
    this.#options = options
    this.#selections = options.images ?? []
    // How to log in is for the registry to say: nothing is shown to it unasked.
    const ours = { ...options, url: new URL(origin), username: undefined, password: undefined }
    this.#client = makeHttpClient(ours, line, { isOpenToPublic: true, authHosts })
    this.#auth = new Authenticator({ client: this.#client, host, origin, authHosts, credentials, clock })
    this.#allowance = new PullAllowance({ name, clock, counters })
    this.#registryClient = new RegistryClient(this.#client, this.#auth, this.#allowance, origin)
    this.#resolver = new ImageResolver({
      client: this.#registryClient,
      memory: options.registryMemory?.(host) ?? noMemory,
      platform: this.#platform,
      log,
    })
    this.#offers = new OfferMaker(host, {
      recompresses: options.recompress === 'gzip',
      maxAncestry: options.maxAncestry ?? MAX_ANCESTRY,
    })
    this.registry = this.#makeRegistry()
  }

  /** Docker Hub's, and whoever else tells of one. */
  pullLimit(): PullLimit | undefined {
    return this.#allowance.now
  }

  /** There is no validator: a list without a change is still news of every tag in it, and costs one HEAD for each. */
  async listImages({ signal }: { signal: AbortSignal }): Promise<Listing> {
    const asking: Asking = { priority: 'background', signal }
    const round: Round = { followed: new Map(), setAside: [], failures: [] }
    if (this.#selections.length > 0) await this.#registryClient.ping(asking)
    const wanted = await this.#selectTags(round, asking)
    const resolved = new Map<string, ResolvedImage>()
    await forEachConcurrently(wanted.entries(), TAGS_AT_ONCE, ([place, each]) =>
      this.#follow(each, place, round, resolved, asking),
    )
    const [failure] = round.failures
    if (failure && round.followed.size === 0) throw failure

    const followed = [...round.followed].sort(([left], [right]) => left - right).map(([, each]) => each)
    const offer = await this.#offers.make(followed)
    const setAside = [...round.setAside, ...offer.setAside]
    const left = wanted.length - round.followed.size - round.setAside.length
    this.#resolved = failure ? new Map([...this.#resolved, ...resolved]) : resolved
    this.#images = failure ? new Map([...(this.#images ?? []), ...offer.statements]) : offer.statements
    return {
      ...this.#selection.narrow(offer.statements.values()),
      setAside,
      listedCount: offer.statements.size + setAside.length,
      validator: undefined,
      incomplete: failure && `${Math.max(1, left)} tags could not be followed now: ${failure.message}`,
      tags: offer.sightings,
    }
  }

  whyLeftOut(statement: Statement): string | undefined {
    return this.#selection.whyLeftOut(statement)
  }

  async check(signal: AbortSignal): Promise<string> {
    await this.#registryClient.ping({ priority: 'client', signal })
    return 'Docker registry'
  }

  /** Registries know no uuids: what is in no list of ours is not there. */
  async getImage(uuid: Uuid): Promise<Statement | undefined> {
    if (!this.#images && this.#selections.length > 0) throw new NotAsked(`${this.name} has not told its tags yet`)
    return this.#images?.get(uuid)
  }

  async openFile({ statement, fileIndex, ...request }: FileRequest): Promise<FileBody> {
    const file = statement.manifest.files[fileIndex]
    const whereabouts = parseWhereabouts(statement.whereabouts[fileIndex])
    if (!file) throw new RangeError(`image ${statement.manifest.uuid} has no file ${fileIndex}`)
    if (!whereabouts) {
      const reason = `where image ${statement.manifest.uuid} is was said by a server of another type`
      throw new MirrorError('UPSTREAM_MISBEHAVED', `${this.name}: ${reason}`)
    }
    const { digest, repository, urls } = whereabouts
    // A digest never means other bytes, so no validator is needed, and a CDN's would differ from door to door.
    const question: FileQuestion = { ...request, expectedBytes: file.sizeBytes, validator: undefined }
    const asked = await this.#openForeign(urls, question)
    const url = this.#registryClient.blobUrl(repository, digest)
    const body = asked ?? (await getFile(this.#registryClient.askerFor(repository), url, question))
    return { ...body, validator: `"${digest}"` }
  }

  async getIcon(): Promise<undefined> {
    return undefined
  }

  async getChunks(): Promise<undefined> {
    return undefined
  }

  async close(): Promise<void> {
    this.#auth.close(new MirrorError('CLOSING', `${this.name} is being closed`))
    await this.#client.close()
  }

  /** The tags to follow, in the order of the configuration, each once. */
  async #selectTags({ setAside }: Round, asking: Asking): Promise<readonly Wanted[]> {
    const wanted = new Map<string, Wanted>()
    const lists = new Map<string, readonly string[] | undefined>()
    let leftOut = 0
    for (const selection of this.#selections) {
      const repository = repositoryAt(this.#host, selection)
      const tags = await this.#tagsOf(selection, repository, lists, setAside, asking)
      for (const tag of tags) {
        const key = `${repository}:${tag}`
        if (wanted.size < FOLLOWED_LIMIT || wanted.has(key)) wanted.set(key, wanted.get(key) ?? { repository, tag })
        else leftOut += 1
      }
    }
    if (leftOut > 0) {
      setAside.push({ what: `${leftOut} tags`, reason: `more than ${FOLLOWED_LIMIT} tags are selected` })
    }
    return [...wanted.values()]
  }

  async #tagsOf(
    selection: ImageSelection,
    repository: string,
    lists: Map<string, readonly string[] | undefined>,
    setAside: SetAside[],
    asking: Asking,
  ): Promise<readonly string[]> {
    if (selection.exactTag !== undefined) return [selection.exactTag]
    const what = `${localNameOf(this.#host, repository)} (${selection.text})`
    try {
      if (!lists.has(repository)) lists.set(repository, await this.#registryClient.listTags(repository, asking))
    } catch (error) {
      if (!isMirrorError(error, 'UPSTREAM_MISBEHAVED')) throw error
      setAside.push({ what, reason: error.message })
      return []
    }
    const all = lists.get(repository)
    if (!all) {
      setAside.push({ what, reason: 'the registry has no such repository, or denies it' })
      return []
    }
    const tags = selectTags(selection, all)
    if (selection.newest !== undefined) this.#newest.set(selection, new Set(tags))
    if (tags.length === 0) setAside.push({ what, reason: `none of its ${all.length} tags matches` })
    return tags
  }

  async #follow(
    { repository, tag }: Wanted,
    place: number,
    round: Round,
    resolved: Map<string, ResolvedImage>,
    asking: Asking,
  ): Promise<void> {
    if (round.failures.filter((failure) => !(failure instanceof NotAsked)).length >= FAILURES_LIMIT) return
    try {
      const digest = await this.#digestOf(repository, tag, asking)
      if (digest === undefined) throw new MirrorError('MANIFEST_INVALID', 'the registry has no such tag, or denies it')
      const key = `${repository} ${digest}`
      const image = this.#resolved.get(key) ?? (await this.#resolver.resolve(repository, digest, asking))
      resolved.set(key, image)
      round.followed.set(place, { repository, tag, image })
    } catch (error) {
      if (isMirrorError(error, 'UPSTREAM_UNREACHABLE')) round.failures.push(error)
      else if (isMirrorError(error, 'UPSTREAM_MISBEHAVED', 'MANIFEST_INVALID')) {
        round.setAside.push({ what: `${localNameOf(this.#host, repository)}:${tag}`, reason: error.message })
      } else throw error
    }
  }

  /** What a tag means now. */
  async #digestOf(repository: string, tag: string, asking: Asking): Promise<string | undefined> {
    const head = await this.#registryClient.headManifest(repository, tag, asking)
    if (head !== 'undetermined') return head?.digest
    const fetched = await this.#registryClient.getManifest(repository, tag, asking)
    if (fetched) await this.#resolver.keep(repository, fetched.object)
    return fetched?.object.digest
  }

  /** A foreign layer is at places that its manifest names; its registry may have a copy, or not. */
  async #openForeign(urls: readonly string[], question: FileQuestion): Promise<FileBody | undefined> {
    for (const text of urls) {
      const url = new URL(text)
      url.username = ''
      url.password = ''
      if (!this.#client.allowsFilesFrom(url)) continue
      try {
        return await getFile(this.#client, url, question)
      } catch (error) {
        if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
        const facts = { upstream: this.name, url: this.#client.blame.place(url), err: error }
        this.#options.log.debug(facts, `a foreign layer could not be had from ${url.host}`)
      }
    }
    return undefined
  }

  /** Without a tag: whether any of this repository is. */
  #isNamed(repository: string, tag: string | undefined): boolean {
    return this.#selections.some((selection) => {
      if (repositoryAt(this.#host, selection) !== repository) return false
      if (tag === undefined) return true
      // Which the newest are is known from the list; until there was one, any that might be.
      return selection.matches(tag) && (this.#newest.get(selection)?.has(tag) ?? true)
    })
  }

  async #image(
    { digest, repository, tag }: Parameters<RegistryUpstream['image']>[0],
    asking: Asking,
  ): Promise<RegistryImage | undefined> {
    const found = digest ?? (await this.#digestOf(repository, tag ?? 'latest', asking))
    if (found === undefined) return undefined
    const resolved = await this.#resolver.resolve(repository, found, asking)
    const tags = tag === undefined ? [] : [tag]
    const { config, configDigest, layers, manifestDigest } = resolved
    const manifest = await this.#resolver.manifestObject(repository, manifestDigest, asking)
    const mapped = mapDockerImage({ localName: localNameOf(this.#host, repository), tags, layers, config })
    return {
      manifest,
      configDigest,
      config,
      layers: mapped.map((image) => ({ digest: image.layer.digest, statement: statementOf(repository, image) })),
    }
  }

  #makeRegistry(): RegistryUpstream {
    const client = this.#registryClient
    const pullsAny = this.#options.pull === 'any'
    const asClient = (signal: AbortSignal): Asking => ({ priority: 'client', signal })
    return {
      host: this.#host,
      platform: this.#platform,
      pullsAny,
      follows: (repository, tag) => this.#isNamed(repository, tag),
      mayPull: (repository, tag) => pullsAny || this.#isNamed(repository, tag),
      async headManifest(repository, reference, signal): Promise<RegistryObjectRef | undefined> {
        const head = await client.headManifest(repository, reference, asClient(signal))
        if (head !== 'undetermined') return head
        const { digest, mediaType, sizeBytes } =
          (await client.getManifest(repository, reference, asClient(signal)))?.object ?? {}
        return digest === undefined ? undefined : { digest, mediaType: mediaType!, sizeBytes: sizeBytes! }
      },
      async getManifest(repository, reference, signal): Promise<RegistryObject | undefined> {
        return (await client.getManifest(repository, reference, asClient(signal)))?.object
      },
      image: (reference, signal) => this.#image(reference, asClient(signal)),
      listTags: (repository, signal) => client.listTags(repository, asClient(signal)),
      async headBlob(repository, digest, signal) {
        return parseRegistryDigest(digest) && (await client.headBlob(repository, digest, asClient(signal)))
      },
      blobStatement,
    }
  }
}

/** Of a blob that is of no image of ours, or not known to be: its manifest is for `openFile` alone, and in no list. */
function blobStatement(repository: string, digest: string, sizeBytes: number): Statement {
  const parsed = parseRegistryDigest(digest)
  const read = parseManifest({
    v: 2,
    uuid: parsed && uuidOfLayers([digest]),
    name: 'docker-blob',
    version: parsed?.hex.slice(0, 12),
    type: 'other',
    os: 'other',
    state: 'active',
    published_at: '1970-01-01T00:00:00.000Z',
    files: [{ sha256: parsed?.hex, size: sizeBytes, compression: 'none' }],
  })
  if (!read.ok) throw new MirrorError('MANIFEST_INVALID', `no blob ${digest} of ${sizeBytes} bytes: ${read.reason}`)
  return { ...read.statement, whereabouts: [JSON.stringify({ repository, digest })] }
}

function addressOf({ name, url }: UpstreamOptions): { host: string; url: string } {
  try {
    return parseRegistryAddress(url.href)
  } catch (error) {
    if (!isMirrorError(error, 'QUERY_INVALID')) throw error
    throw new MirrorError('CONFIG_INVALID', `upstream ${name}: ${error.message}`, { cause: error })
  }
}

function credentialsOf({ dockerConfig, name, password, username }: UpstreamOptions, host: string) {
  if (username !== undefined) return { kind: 'password', username, password: password ?? '' } satisfies Credentials
  try {
    return dockerConfig === undefined ? undefined : credentialsFrom(dockerConfig, host)
  } catch (error) {
    if (!isMirrorError(error, 'CONFIG_INVALID')) throw error
    throw new MirrorError('CONFIG_INVALID', `upstream ${name}: ${error.message}`, { cause: error })
  }
}

const noMemory: RegistryMemory = { get: async () => undefined, keep: async () => {} }
