import { LRUCache } from 'lru-cache'
import { isMirrorError, MirrorError } from '../errors.js'
import { canonicalHost, DOCKER_HUB, isRepositoryName, localNameOf } from '../images/docker/reference.js'
import { parseRegistryDigest } from '../images/docker/registry-digest.js'
import { choosePlatform, MANIFEST_TYPES, type Platform } from '../images/docker/registry-manifest.js'
import type { Uuid } from '../images/uuid.js'
import { abortable } from '../parts/abortable.js'
import { systemClock } from '../parts/clock.js'
import type { Log } from '../parts/log.js'
import { SingleFlight } from '../parts/single-flight.js'
import type { OpenBlob } from '../store/blob-store.js'
import type { KeptObject, KeptTag } from '../store/registry-store.js'
import type { Store } from '../store/store.js'
import type { RegistryUpstream } from '../upstream/registry-upstream.js'
import type { Listing, Upstream } from '../upstream/upstream.js'
import type { MirrorCounters } from './counters.js'
import type { Flights } from './flights.js'
import type { BlobInReading } from './keeping/blobs-in-reading.js'
import type { RecordHappening } from './ledger.js'
import type { OpenFile } from './mirror.js'
import { openBlob, openBytes, openFlight } from './open-files.js'
import type { Offer } from './reception.js'
import type { BlobOnOffer, Registry, Repository, ServedObject } from './registry.js'
import { RegistryContents } from './registry-contents.js'
import { RegistryRoom } from './registry-room.js'

export interface RegistryMirrorOptions {
  readonly store: Pick<Store, 'blobs' | 'registry'>
  /** In order of precedence, registries and others. Empty when offline. */
  readonly upstreams: readonly Upstream[]
  /** All configured registries in order of precedence, also when offline. */
  readonly registries: readonly { readonly host: string; readonly platform: Platform }[]
  readonly connections: ReadonlyMap<string, number>
  readonly isOffline: boolean
  /** So long it is believed what a tag means. */
  readonly refreshMs: number
  readonly holdbackBytes: number
  /** What manifests, configs and tags may take that no followed tag leads to. */
  readonly limitBytes: number
  readonly flights: Pick<Flights, 'find' | 'isSpoilt' | 'start'>
  /** Files, by their sha256, that nobody may have, and the withheld image they are of. */
  readonly withheldFiles: () => ReadonlyMap<string, Uuid>
  /** The blob, read as configuration says, by one client of many. */
  readonly forClient: (blob: OpenBlob) => BlobInReading
  readonly counters: Pick<MirrorCounters, 'fileAsked' | 'tagMoved'>
  readonly record: RecordHappening
  readonly log: Log
}

interface Source {
  readonly upstream: Upstream
  readonly registry: RegistryUpstream
}

/** A repository of one registry. */
interface Home {
  readonly host: string
  readonly name: string
  /** For clients who take no index. */
  readonly platform: Platform
  /** `undefined` when we are offline. */
  readonly source: Source | undefined
}

/** A manifest or index that was found. */
interface Found {
  readonly digest: string
  readonly mediaType: string
  readonly sizeBytes: number
  readonly staleSinceMs: number | undefined
  readonly read: () => Promise<Buffer>
}

/** Lists of tags that are remembered: so many characters, all together, and each as long as a tag is believed. */
const TAG_LISTS_LENGTH = 8 * 1024 * 1024
/** Manifests fetched at most because somebody asks for a blob that none we have speaks of. */
const FETCHED_FOR_A_BLOB = 8
/** Manifests of followed tags fetched again, at most, after one refresh. */
const LOST_MANIFESTS_FETCHED = 20
/** Tags asked about one by one, at most, when a registry's list has them no more. */
const MISSED_TAGS_ASKED = 20

/** What Docker registries have, as far as configuration lets it through: asked for when it is needed, and kept. */
export class RegistryMirror implements Registry {
  #options: RegistryMirrorOptions
  readonly #contents: RegistryContents
  readonly #room: RegistryRoom
  #sources: readonly Source[]
  #tagLists: LRUCache<string, readonly string[]>
  /** Clients who ask for the same at the same time share one question. */
  readonly #asking = new SingleFlight<string, Found | undefined>()
  readonly #fetching = new SingleFlight<string, KeptObject | undefined>()
  readonly #listing = new SingleFlight<string, readonly string[] | undefined>()
  readonly #underWay = new Set<Promise<unknown>>()
  readonly #abort = new AbortController()

  constructor(options: RegistryMirrorOptions) {
    this.#options = options
    this.#contents = new RegistryContents(options.store)
    this.#sources = registriesAmong(options.upstreams)
    this.#room = new RegistryRoom({
      ...options,
      contents: this.#contents,
      isFollowed: ({ host, repository, tag }) =>
        this.#sources.some(({ registry }) => registry.host === host && registry.follows(repository, tag)),
      clock: systemClock,
    })
    this.#tagLists = rememberTagLists(options.refreshMs)
  }

  /** Which registries there are from now on, and how they are used. Questions under way are answered by those they were put to. */
  change(
    rules: Pick<
      RegistryMirrorOptions,
      'upstreams' | 'registries' | 'connections' | 'refreshMs' | 'holdbackBytes' | 'limitBytes'
    >,
  ): void {
    this.#options = { ...this.#options, ...rules }
    this.#sources = registriesAmong(rules.upstreams)
    this.#tagLists = rememberTagLists(rules.refreshMs)
    this.#room.change(rules.limitBytes)
  }

  /** Reads what the kept manifests of all tags say. Offline nothing can be answered before. */
  async start(): Promise<void> {
    const { isOffline, log, store } = this.#options
    const reading = this.#contents.read(new Set([...store.registry.tags()].map(({ digest }) => digest)))
    const read = this.#watch(reading).catch((error: unknown) => {
      log.error({ err: error }, 'the kept manifests of registries could not all be read')
    })
    if (isOffline) await read
    else void read.then(() => this.#room.grown())
  }

  repository(name: string, namespace: string | undefined): Repository {
    const homes = this.#homesOf(name, namespace).filter((home) => this.#isOpen(home))
    const [first] = homes
    if (!first) {
      throw new MirrorError('REPOSITORY_UNKNOWN', `no repository ${name}${namespace ? ` of ${namespace}` : ''} here`)
    }
    return {
      host: first.host,
      name: first.name,
      manifest: (reference, accepts, options) => this.#manifest(homes, reference, accepts, options),
      blob: (digest, signal) => abortable(this.#watch(this.#blob(homes, digest)), signal),
      tags: (signal) => abortable(this.#watch(this.#tags(homes)), signal),
    }
  }

  catalogue(): readonly string[] {
    const names = new Set<string>()
    const { registry } = this.#options.store
    for (const { host, repository, tag, digest } of registry.tags()) {
      const homes = this.#homesAt(host, repository)
      if (homes.some((home) => this.#isListed(home, tag, digest))) names.add(this.#publicName(host, repository))
    }
    return [...names].sort()
  }

  /** What a refresh has found tags to mean. Never rejects. */
  async heard(upstream: Upstream, { incomplete, tags = [] }: Listing): Promise<void> {
    const source = this.#sources.find((each) => each.upstream === upstream)
    if (!source) return
    const { log, store } = this.#options
    const { host } = source.registry
    const told = new Set(tags.map(({ repository, tag }) => `${repository}:${tag}`))
    try {
      for (const { repository, tag, digest } of tags) await this.#saw(homeAt(source, repository), tag, digest)
      await this.#contents.read(tags.map(({ digest }) => digest))
      await this.#completeFollowed(source, tags)
      if (incomplete !== undefined) return
      // Not in the list any more: gone, or only no longer among the newest. The registry knows.
      const missed = [...store.registry.tags(host)]
        .filter(({ repository, tag }) => !told.has(`${repository}:${tag}`) && source.registry.follows(repository, tag))
        .sort((a, b) => a.lastSeenMs - b.lastSeenMs)
      for (const { repository, tag } of missed.slice(0, MISSED_TAGS_ASKED)) {
        await this.#head(homeAt(source, repository), tag)
      }
    } catch (error) {
      if (!isMirrorError(error)) throw error
      if (isMirrorError(error, 'CLOSING')) return
      log.warn(
        { upstream: upstream.name, err: error },
        `what the tags of ${upstream.name} mean is not all written down`,
      )
    }
  }

  /** Somebody has brought what this tag leads to: from now on it means that, if all of it is kept. Answers whether it is. */
  async brought(tag: Pick<KeptTag, 'host' | 'repository' | 'tag' | 'digest'>): Promise<boolean> {
    await this.#contents.read([tag.digest])
    if (!this.#contents.isComplete(tag.digest)) return false
    await this.#options.store.registry.sawTag(tag, Date.now())
    this.#room.grown()
    return true
  }

  /** Fetches manifests of followed tags that are kept no more: they were damaged, or deleted. */
  async #completeFollowed(source: Source, tags: NonNullable<Listing['tags']>): Promise<void> {
    const { registry } = this.#options.store
    let left = LOST_MANIFESTS_FETCHED
    for (const { repository, digest } of tags) {
      const member = choosePlatform(this.#contents.membersOf(digest), source.registry.platform)
      for (const each of [digest, ...(member ? [member.digest] : [])]) {
        if (left === 0) return
        if (registry.objectSizeBytes(each) !== undefined) continue
        left--
        await this.#fetch(homeAt(source, repository), each)
      }
    }
  }

  /** Blobs, by their sha256, that belong together: what a client of Docker needs of one image that a tag means. */
  *images(): Generator<readonly string[]> {
    const roots = new Set([...this.#options.store.registry.tags()].map(({ digest }) => digest))
    for (const digest of this.#contents.reachableFrom(roots)) {
      const blobs = this.#contents.blobsOf(digest)
      if (blobs.length > 0) yield blobs.map((blob) => blob.digest.slice('sha256:'.length))
    }
  }

  /** Whether any manifest that is kept, by whatever way a client comes to it, has this blob. */
  async needs(sha256: string): Promise<boolean> {
    await this.#contents.read(this.#options.store.registry.objects())
    return this.#contents.leadingTo(`sha256:${sha256}`).size > 0
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await Promise.allSettled(this.#underWay)
    await this.#room.close()
  }

  async #manifest(
    homes: readonly Home[],
    reference: string,
    accepts: (mediaType: string) => boolean,
    { isHead, signal }: { isHead: boolean; signal: AbortSignal },
  ): Promise<ServedObject> {
    const isDigest = reference.includes(':')
    const ask = async (home: Home) => {
      if (isDigest) return await this.#byDigest(home, reference, isHead)
      const found = await this.#byTag(home, reference, isHead)
      return found && (await this.#inAcceptedForm(home, found, accepts, isHead))
    }
    const served = await abortable(this.#watch(this.#firstOf(homes, ask, isDigest)), signal)
    const withheld = served && this.#withheldIn(served.digest, homes[0]!.platform)
    if (withheld) {
      throw new MirrorError(
        'IMAGE_WITHHELD',
        `${homes[0]!.name} ${reference} has a layer that is image ${withheld}, which is ${withheldAdvice(withheld)}`,
      )
    }
    if (served) return served
    throw new MirrorError('MANIFEST_UNKNOWN', `${homes[0]!.name} has no manifest ${reference}`)
  }

  /**
   * The first answer of a registry that has one. What cannot be reached may have it too: then only a registry that is
   * configured for this very repository stands in, since under the same name anybody may publish something else elsewhere.
   * A digest means the same everywhere.
   * @throws the first failure, when nobody has an answer.
   */
  async #firstOf<Value>(
    homes: readonly Home[],
    ask: (home: Home) => Promise<Value | undefined>,
    isSameEverywhere: boolean,
  ): Promise<Value | undefined> {
    let failure: unknown
    for (const home of homes) {
      if (failure && !isSameEverywhere && home.source?.registry.pullsAny) continue
      try {
        const answer = await ask(home)
        if (answer !== undefined) return answer
      } catch (error) {
        if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED', 'IMAGE_INCOMPLETE')) throw error
        failure ??= error
      }
    }
    if (failure) throw failure
    return undefined
  }

  /** What a tag means: as it was seen lately, or as the registry says now, or, when it cannot be asked, as it was seen last. */
  async #byTag(home: Home, tag: string, isHead: boolean): Promise<Found | undefined> {
    const { host, name, source } = home
    const { refreshMs, store } = this.#options
    const kept = store.registry.tag(host, name, tag)
    if (!source) {
      if (!kept) return undefined
      const held = await this.#held(kept.digest, kept.lastSeenMs)
      if (held && this.#contents.isComplete(kept.digest)) return held
      throw incomplete(`${name}:${tag}`)
    }
    if (!source.registry.mayPull(name, tag)) return undefined
    // A clock that was set back makes it no fresher.
    const isFresh = kept !== undefined && Math.abs(Date.now() - kept.lastSeenMs) <= refreshMs
    const held = isFresh ? await this.#held(kept.digest) : undefined
    if (held) return held
    try {
      const ask = () => this.#watch(this.#askForTag(home, tag, isHead))
      return await this.#asking.do(`${source.upstream.name} ${isHead} ${name}:${tag}`, ask)
    } catch (error) {
      if (!kept || !isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
      const stale = await this.#held(kept.digest, kept.lastSeenMs)
      if (!stale) throw error
      const facts = { upstream: source.upstream.name, repository: name, tag, digest: kept.digest, err: error }
      this.#options.log.info(facts, `${name}:${tag} is answered as it was seen last`)
      return stale
    }
  }

  async #askForTag(home: Home, tag: string, isHead: boolean): Promise<Found | undefined> {
    const { host, name } = home
    const { registry } = this.#options.store
    const kept = registry.tag(host, name, tag)
    // A HEAD costs nothing of the registry's limit, and most tags mean what they meant.
    if (isHead || (kept && registry.objectSizeBytes(kept.digest) !== undefined)) {
      const head = await this.#head(home, tag)
      if (!head) return undefined
      const held = await this.#held(head.digest)
      if (held) return held
      return isHead ? this.#unread(home, head) : await this.#fetched(home, head.digest)
    }
    const object = await this.#fetch(home, tag)
    if (!object) {
      await registry.lostTag(host, name, tag, Date.now())
      return undefined
    }
    await this.#saw(home, tag, object.digest)
    return foundOf(object)
  }

  /** Asks what a tag means, and writes it down. */
  async #head(home: Home, tag: string) {
    const { host, name, source } = home
    const head = await source!.registry.headManifest(name, tag, this.#abort.signal)
    if (head) await this.#saw(home, tag, head.digest)
    else await this.#options.store.registry.lostTag(host, name, tag, Date.now())
    return head
  }

  async #saw({ host, name, source }: Home, tag: string, digest: string): Promise<void> {
    const { counters, log, record, store } = this.#options
    const before = store.registry.tag(host, name, tag)
    try {
      const isNews = await store.registry.sawTag({ host, repository: name, tag, digest }, Date.now())
      if (isNews) this.#room.grown()
      if (!isNews || !before) return
      counters.tagMoved(source!.upstream.name)
      const facts = { upstream: source!.upstream.name, repository: name, tag, from: before.digest, to: digest }
      record('tag-moved', undefined, facts)
      log.info(facts, `tag ${tag} of ${localNameOf(host, name)} has moved`)
    } catch (error) {
      // What cannot be written down is still true.
      if (!isMirrorError(error, 'STORE_FULL', 'STORE_BROKEN')) throw error
      log.error({ repository: name, tag, err: error }, `what ${name}:${tag} means could not be written down`)
    }
  }

  async #byDigest(home: Home, digest: string, isHead: boolean): Promise<Found | undefined> {
    const { name, source } = home
    if (!parseRegistryDigest(digest)) return undefined
    const belongs = (await this.#manifestsOf(home)).has(digest)
    if (!belongs && !source?.registry.pullsAny) return undefined
    const held = belongs ? await this.#held(digest) : undefined
    if (held && (source || this.#contents.isComplete(digest))) return held
    if (!source) throw incomplete(`${name}@${digest}`)
    if (!isHead) return await this.#fetched(home, digest)
    const head = await source.registry.headManifest(name, digest, this.#abort.signal)
    return head && this.#unread(home, head)
  }

  /** A list that the client does not take is answered with what it has for our platform. */
  async #inAcceptedForm(
    home: Home,
    found: Found,
    accepts: (mediaType: string) => boolean,
    isHead: boolean,
  ): Promise<Found> {
    let inForm = found
    // An index may be in an index, once.
    for (let nesting = 0; nesting < 2 && !accepts(inForm.mediaType); nesting++) {
      this.#contents.learn(inForm.digest, { mediaType: inForm.mediaType, bytes: await inForm.read() })
      const members = this.#contents.membersOf(inForm.digest)
      if (members.length === 0) return inForm
      const { architecture, os, variant } = home.platform
      const member = choosePlatform(members, home.platform)
      if (!member) {
        throw new MirrorError(
          'MANIFEST_UNKNOWN',
          `the index ${inForm.digest} of ${home.name} has none for ${[os, architecture, variant].filter(Boolean).join('/')}`,
        )
      }
      const held = await this.#held(member.digest)
      const next = held ?? (isHead ? this.#unread(home, member) : await this.#fetched(home, member.digest))
      if (!next) throw new MirrorError('MANIFEST_UNKNOWN', `${home.name} lacks ${member.digest}, which its index names`)
      inForm = { ...next, staleSinceMs: found.staleSinceMs }
    }
    return inForm
  }

  /** A manifest or index that is kept. */
  async #held(digest: string, staleSinceMs?: number): Promise<Found | undefined> {
    const object = await this.#options.store.registry.object(digest)
    if (!object || !MANIFEST_TYPES.includes(object.mediaType)) return undefined
    this.#contents.learn(digest, object)
    this.#room.used(digest)
    return { ...foundOf(object), staleSinceMs }
  }

  /** What is known by a HEAD alone. */
  #unread(home: Home, head: { digest: string; mediaType: string; sizeBytes: number }): Found {
    const { digest, mediaType, sizeBytes } = head
    const read = async () => {
      const fetched = await this.#fetched(home, digest)
      if (fetched) return await fetched.read()
      throw new MirrorError('MANIFEST_UNKNOWN', `${home.name} has no manifest ${digest}`)
    }
    return { digest, mediaType, sizeBytes, staleSinceMs: undefined, read }
  }

  async #fetched(home: Home, reference: string): Promise<Found | undefined> {
    const object = await this.#fetch(home, reference)
    return object && foundOf(object)
  }

  /** Fetches a manifest and keeps it. */
  #fetch(home: Home, reference: string): Promise<KeptObject | undefined> {
    if (!home.source) throw incomplete(`${home.name} ${reference}`)
    const { name, source } = home
    const fetch = async () => {
      const object = await source.registry.getManifest(name, reference, this.#abort.signal)
      if (!object) return undefined
      await this.#keep(home, object)
      return object
    }
    return this.#fetching.do(`${source.upstream.name} ${name} ${reference}`, () => this.#watch(fetch()))
  }

  async #keep({ host, name }: Home, object: KeptObject): Promise<void> {
    this.#contents.learn(object.digest, object)
    const { digest, mediaType, bytes } = object
    try {
      await this.#options.store.registry.keepObject(host, name, { digest, mediaType, bytes })
      this.#room.used(digest)
      this.#room.grown()
    } catch (error) {
      // A full disk must not keep anybody from what we have in our hands.
      if (!isMirrorError(error, 'STORE_FULL', 'STORE_BROKEN')) throw error
      this.#options.log.error({ digest, err: error }, `manifest ${digest} of ${name} could not be kept`)
    }
  }

  /** The withheld image, if there is one, that a layer of this manifest is; or of what an index has for our platform. */
  #withheldIn(digest: string, platform: Platform): Uuid | undefined {
    const files = this.#options.withheldFiles()
    if (files.size === 0) return undefined
    const member = choosePlatform(this.#contents.membersOf(digest), platform)
    for (const blob of this.#contents.blobsOf(member?.digest ?? digest)) {
      const uuid = files.get(blob.digest.slice('sha256:'.length))
      if (uuid) return uuid
    }
    return undefined
  }

  async #blob(homes: readonly Home[], digest: string): Promise<BlobOnOffer> {
    const { blobs, registry } = this.#options.store
    const parsed = parseRegistryDigest(digest)
    const withheld = parsed && this.#options.withheldFiles().get(parsed.hex)
    if (withheld) {
      throw new MirrorError(
        'IMAGE_WITHHELD',
        `blob ${digest} is the file of image ${withheld}, which is ${withheldAdvice(withheld)}`,
      )
    }
    const found =
      parsed &&
      (await this.#firstOf(
        homes,
        async (home) => {
          const sizeBytes = await this.#blobSizeBytes(home, digest)
          return sizeBytes === undefined ? undefined : { home, sizeBytes }
        },
        true,
      ))
    if (!found) throw new MirrorError('BLOB_UNKNOWN', `${homes[0]!.name} has no blob ${digest}`)
    const { home, sizeBytes } = found
    const kept = blobs.find(parsed, sizeBytes)
    const isObject = registry.objectSizeBytes(digest) === sizeBytes
    if (!home.source && !kept && !isObject) throw incomplete(`blob ${digest} of ${home.name}`)
    return {
      digest,
      sizeBytes,
      keptMs: kept?.keptMs,
      isSpoilt: this.#isSpoilt(home, digest, sizeBytes),
      open: (signal) => this.#openBlob(home, homes, digest, sizeBytes, signal),
    }
  }

  /**
   * The size of a blob that belongs to this repository; `undefined` when none that we know of does. Where everything may be
   * pulled, the registry is asked.
   */
  async #blobSizeBytes(home: Home, digest: string): Promise<number | undefined> {
    const { source } = home
    let blob = await this.#findBlob(home, digest)
    if (!blob && (await this.#fetchUnread(home))) blob = await this.#findBlob(home, digest)
    if (blob?.sizeBytes !== undefined) return blob.sizeBytes
    const kept = blob && this.#options.store.blobs.find(parseRegistryDigest(digest)!)
    if (kept) return kept.sizeBytes
    if (!source || (!blob && !source.registry.pullsAny)) return undefined
    return await source.registry.headBlob(home.name, digest, this.#abort.signal)
  }

  async #findBlob(home: Home, digest: string) {
    for (const manifest of await this.#manifestsOf(home)) {
      const found = this.#contents.blobsOf(manifest).find((blob) => blob.digest === digest)
      if (found) return found
    }
    return undefined
  }

  /**
   * Fetches manifests that tags led to and that were never fetched through us: their client had them already, and comes for
   * the blobs alone. Answers whether there were any.
   */
  async #fetchUnread(home: Home): Promise<boolean> {
    const { registry } = this.#options.store
    if (!home.source) return false
    const tagged = [...registry.tags(home.host, home.name)]
      .filter(({ tag }) => home.source?.registry.mayPull(home.name, tag))
      .map(({ digest }) => digest)
    const members = tagged.flatMap(
      (digest) => choosePlatform(this.#contents.membersOf(digest), home.platform)?.digest ?? [],
    )
    const unread = [...new Set([...tagged, ...members])].filter(
      (digest) => registry.objectSizeBytes(digest) === undefined,
    )
    for (const digest of unread.slice(0, FETCHED_FOR_A_BLOB)) await this.#fetch(home, digest)
    return unread.length > 0
  }

  /** Every manifest and index that clients may have of this repository, kept or not: what it was kept for, and what allowed tags lead to. */
  async #manifestsOf({ host, name, source }: Home): Promise<ReadonlySet<string>> {
    const { registry } = this.#options.store
    const roots = new Set(registry.objectsOf(host, name))
    for (const { tag } of registry.tags(host, name)) {
      if (source && !source.registry.mayPull(name, tag)) continue
      for (const { digest } of registry.historyOf(host, name, tag)) roots.add(digest)
    }
    await this.#contents.read(roots)
    return this.#contents.reachableFrom(roots)
  }

  async #openBlob(
    home: Home,
    homes: readonly Home[],
    digest: string,
    sizeBytes: number,
    signal: AbortSignal,
  ): Promise<OpenFile> {
    const { counters, flights, forClient, holdbackBytes, store } = this.#options
    const kept = store.blobs.find(parseRegistryDigest(digest)!, sizeBytes)
    const blob = kept && (await store.blobs.open(kept.sha256))
    const object = blob ? undefined : await store.registry.object(digest)
    if (blob || object) counters.fileAsked('hit')
    if (blob) return openBlob(forClient(blob))
    if (object) {
      this.#room.used(digest)
      return openBytes(object.bytes)
    }
    const offers = this.#offersOf(home, homes, digest, sizeBytes)
    const [first] = offers
    if (!first) throw incomplete(`blob ${digest} of ${home.name}`)
    const { manifest } = first.claim
    const underWay = flights.find(manifest, 0)
    counters.fileAsked(underWay ? 'coalesced' : 'miss')
    return await openFlight(underWay ?? flights.start(manifest, 0, offers), holdbackBytes, signal)
  }

  #isSpoilt({ name, source }: Home, digest: string, sizeBytes: number): boolean {
    const statement = source?.registry.blobStatement(name, digest, sizeBytes)
    return statement !== undefined && this.#options.flights.isSpoilt(statement.manifest, 0)
  }

  /** Who can give a blob: where it was asked for, and every repository of which a tag leads to it, wherever that is. */
  #offersOf(home: Home, homes: readonly Home[], digest: string, sizeBytes: number): Offer[] {
    const leading = this.#contents.leadingTo(digest)
    const elsewhere: Home[] = []
    for (const { host, repository, tag, digest: root } of this.#options.store.registry.tags()) {
      if (!leading.has(root)) continue
      const there = this.#homesAt(host, repository)
      elsewhere.push(...there.filter(({ source }) => source?.registry.mayPull(repository, tag)))
    }
    const offers = new Map<Upstream, Offer>()
    for (const { name, source } of [home, ...homes.filter((each) => elsewhere.some(isAt(each))), ...elsewhere]) {
      if (!source || offers.has(source.upstream)) continue
      const { registry, upstream } = source
      const nowMs = Date.now()
      const heard = { isListed: false, firstHeardMs: nowMs, lastHeardMs: nowMs, withdrawnMs: undefined }
      const claim = { ...registry.blobStatement(name, digest, sizeBytes), ...heard, upstream: upstream.name }
      offers.set(upstream, { upstream, claim, connections: this.#options.connections.get(upstream.name) ?? 1 })
    }
    return [...offers.values()]
  }

  async #tags(homes: readonly Home[]): Promise<readonly string[]> {
    const tags = await this.#firstOf(homes, (home) => this.#tagsOf(home), false)
    if (tags) return tags
    throw new MirrorError('REPOSITORY_UNKNOWN', `no registry has a repository ${homes[0]!.name}`)
  }

  async #tagsOf(home: Home): Promise<readonly string[] | undefined> {
    const { host, name, source } = home
    const known = () =>
      [...this.#options.store.registry.tags(host, name)]
        .filter(({ tag, digest }) => this.#isListed(home, tag, digest))
        .map(({ tag }) => tag)
        .sort()
    if (!source) return known()
    try {
      const key = `${source.upstream.name} ${name}`
      const list = () => this.#watch(source.registry.listTags(name, this.#abort.signal))
      const tags = this.#tagLists.get(key) ?? (await this.#listing.do(key, list))
      if (tags) this.#tagLists.set(key, tags, { noUpdateTTL: true })
      const isWithheld = (tag: string) => {
        const meant = this.#options.store.registry.tag(host, name, tag)
        return meant !== undefined && this.#withheldIn(meant.digest, home.platform) !== undefined
      }
      return tags?.filter((tag) => source.registry.mayPull(name, tag) && !isWithheld(tag)).sort()
    } catch (error) {
      if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
      const left = known()
      if (left.length === 0) throw error
      return left
    }
  }

  /** Which repositories a client may mean, best first. */
  #homesOf(name: string, namespace: string | undefined): readonly Home[] {
    if (namespace !== undefined) return this.#homesAt(hostOf(namespace), name)
    const slash = name.indexOf('/')
    const host = hostOf(name.slice(0, Math.max(0, slash)))
    if (this.#hosts().includes(host)) return this.#homesAt(host, name.slice(slash + 1))
    return this.#hosts().flatMap((each) => this.#homesAt(each, name))
  }

  /** A repository of this registry, once for each upstream that is one. */
  #homesAt(host: string, path: string): readonly Home[] {
    const name = host === DOCKER_HUB && !path.includes('/') ? `library/${path}` : path
    if (!isRepositoryName(name) || !this.#hosts().includes(host)) return []
    if (!this.#options.isOffline) {
      return this.#sources.filter(({ registry }) => registry.host === host).map((source) => homeAt(source, name))
    }
    const configured = this.#options.registries.filter((each) => each.host === host)
    return configured.map(({ platform }) => ({ host, name, platform, source: undefined }))
  }

  /** Without repetition, in order of precedence. */
  #hosts(): readonly string[] {
    return [
      ...new Set([
        ...this.#sources.map(({ registry }) => registry.host),
        ...this.#options.registries.map(({ host }) => host),
      ]),
    ]
  }

  #isOpen({ host, name, source }: Home): boolean {
    if (source) return source.registry.mayPull(name)
    return !this.#options.store.registry.tags(host, name)[Symbol.iterator]().next().done
  }

  #isListed({ name, platform, source }: Home, tag: string, digest: string): boolean {
    if (this.#withheldIn(digest, platform)) return false
    return source ? source.registry.mayPull(name, tag) : this.#contents.isComplete(digest)
  }

  /** What a client calls it: without its host where that is clear. */
  #publicName(host: string, repository: string): string {
    const [first] = this.#homesOf(repository, undefined).filter((home) => this.#isOpen(home))
    return first?.host === host && first.name === repository ? repository : `${host}/${repository}`
  }

  #watch<Value>(work: Promise<Value>): Promise<Value> {
    this.#underWay.add(work)
    const done = () => void this.#underWay.delete(work)
    work.then(done, done)
    return work
  }
}

function homeAt(source: Source, name: string): Home {
  const { host, platform } = source.registry
  return { host, name, platform, source }
}

function withheldAdvice(uuid: Uuid): string {
  return `withheld; "imgapi-mirror explain ${uuid}" tells more`
}

function isAt(one: Home): (other: Home) => boolean {
  return (other) => other.source === one.source && other.name === one.name
}

/** Docker Hub answers to several names; containerd says `docker.io`, a url says where its registry is. */
function hostOf(text: string): string {
  const host = text.toLowerCase()
  return host === 'registry-1.docker.io' ? DOCKER_HUB : canonicalHost(host)
}

function foundOf({ digest, mediaType, bytes }: KeptObject): Found {
  return { digest, mediaType, sizeBytes: bytes.length, staleSinceMs: undefined, read: async () => bytes }
}

function incomplete(what: string): MirrorError {
  return new MirrorError('IMAGE_INCOMPLETE', `${what} is not complete here, and this mirror is offline`)
}

function registriesAmong(upstreams: readonly Upstream[]): readonly Source[] {
  return upstreams.flatMap((upstream) => {
    const { registry } = upstream
    return registry ? [{ upstream, registry }] : []
  })
}

function rememberTagLists(ttlMs: number): LRUCache<string, readonly string[]> {
  return new LRUCache({
    maxSize: TAG_LISTS_LENGTH,
    ttl: Math.max(1, ttlMs),
    sizeCalculation: (tags) => 1 + tags.reduce((sum, tag) => sum + tag.length, 0),
  })
}
