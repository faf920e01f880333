import { MirrorError } from '../errors.js'
import type { Claim } from '../images/claim.js'
import type { ListQuery } from '../images/list-query.js'
import type { Manifest } from '../images/manifest.js'
import { selectImages } from '../images/match-query.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { abortable } from '../parts/abortable.js'
import { systemClock } from '../parts/clock.js'
import type { Log } from '../parts/log.js'
import { steadyPlan } from '../parts/rate-plan.js'
import { CHUNK_BYTES } from '../store/blob-store.js'
import type { KeptIcon } from '../store/image-store.js'
import type { Store } from '../store/store.js'
import type { Upstream } from '../upstream/upstream.js'
import type { Carrying } from './carrying.js'
import { Catalogue } from './catalogue.js'
import { ALL_CHANNELS, Channels } from './channels.js'
import { ConflictPolicies } from './conflict-policies.js'
import type { MirrorCounters } from './counters.js'
import type { Flight } from './flight.js'
import { Flights, keyOfExpected } from './flights.js'
import { Heard } from './heard.js'
import { HeldImages } from './held-images.js'
import { Icons } from './icons.js'
import { ImageFinder } from './image-finder.js'
import { Inquiries } from './inquiries.js'
import { Jobs } from './jobs.js'
import { Keeping, type KeepingRules } from './keeping/keeping.js'
import { Ledger } from './ledger.js'
import { ListedImages } from './listed-images.js'
import type { Conflict, FileChunks, FileOnOffer, ImageList, Mirror, MirrorStatus, OpenFile } from './mirror.js'
import { openBlob, openFlight } from './open-files.js'
import { Adoption } from './operations/adoption.js'
import { Auditing } from './operations/auditing.js'
import { ENTRIES_LOOKED_AT } from './operations/came-by.js'
import { Explainer } from './operations/explain.js'
import { KnownImages } from './operations/known-images.js'
import type { MirrorOperations } from './operations/operations.js'
import { Pins } from './operations/pins.js'
import { Prewarms } from './operations/prewarms.js'
import { Pulls } from './operations/pulls.js'
import { Removals } from './operations/removals.js'
import { UpstreamQuestions } from './operations/upstream-questions.js'
import { Verification } from './operations/verification.js'
import { wantedBy } from './operations/wanted-by.js'
import type { PrewarmPolicy } from './prewarming/prewarm-policy.js'
import { Prewarming } from './prewarming/prewarming.js'
import type { Lines } from './prewarming/schedule.js'
import { Surveyor } from './prewarming/survey.js'
import { Publisher, type PublishingRules } from './publishing/publisher.js'
import type { Publishing } from './publishing.js'
import { type PullWays, pullFile } from './pull-file.js'
import type { Offer } from './reception.js'
import { Recompression } from './recompression.js'
import { Refresher, type RefresherOptions } from './refresher.js'
import { RegistryMirror, type RegistryMirrorOptions } from './registry-mirror.js'

export interface MirrorOptions {
  readonly store: Store
  /** In order of precedence. Empty when offline. */
  readonly upstreams: readonly Upstream[]
  /** By name of upstream: how many connections may carry one file. One, where nothing is said. */
  readonly connections: ReadonlyMap<string, number>
  /** By name of upstream: how long clients who have bytes already wait for it while it is away. Not at all, where nothing is said. */
  readonly awayPatienceMs?: ReadonlyMap<string, number>
  /** The names of all configured upstreams in order of precedence, also when offline: their claims still count. */
  readonly precedence: readonly string[]
  /** Without them, a mirror without channels. */
  readonly channels?: Channels
  /** The configured Docker registries in order of precedence, also when offline. */
  readonly registries?: RegistryMirrorOptions['registries']
  /** What manifests, configs and tags of registries may take that no followed tag leads to. */
  readonly registryLimitBytes?: number
  readonly isOffline: boolean
  readonly withdrawn: 'list' | 'hide'
  /** What becomes of images that upstreams disagree about. Without it, order decides. */
  readonly policies?: ConflictPolicies
  readonly refreshMs: number
  /** The tail of every answer that waits until the file is verified; at least 1. */
  readonly holdbackBytes: number
  /** How long the first list ever waits for the first upstream to answer. */
  readonly firstAnswerWaitMs: number
  readonly missTtlMs: number
  /** How long a client who asks for an unknown image waits for upstreams that do not answer. */
  readonly patienceMs: number
  /** How long a client who asks for an image waits for a layer of it to be packed anew. */
  readonly recompressPatienceMs?: number
  /** How large a layer may be, unpacked, that is packed anew. */
  readonly maxLayerBytes: number
  /** The longest ancestry that is followed, in images. */
  readonly maxAncestry: number
  /** Told when all is brought back from earlier runs, and before anything of it may leave. */
  readonly onBroughtBack?: (carrying: Carrying) => Promise<void>
  readonly keeping: KeepingRules
  /** What is fetched before anyone asks. Without it, nothing. */
  readonly prewarming?: {
    readonly policies: readonly PrewarmPolicy[]
    /** How fast the lines may be used, and when, as it is decided now. */
    readonly lines: () => Lines
  }
  readonly publishing: PublishingRules
  readonly counters: MirrorCounters
  readonly log: Log
}

/** What the operator may decide anew while the mirror runs. Where it keeps things, and whether it is offline, is settled when it starts. */
export type MirrorRules = Pick<
  MirrorOptions,
  | 'upstreams'
  | 'connections'
  | 'awayPatienceMs'
  | 'precedence'
  | 'channels'
  | 'registries'
  | 'registryLimitBytes'
  | 'withdrawn'
  | 'policies'
  | 'refreshMs'
  | 'holdbackBytes'
  | 'firstAnswerWaitMs'
  | 'missTtlMs'
  | 'maxLayerBytes'
  | 'maxAncestry'
  | 'keeping'
  | 'prewarming'
  | 'publishing'
>

const NO_LINES: Lines = { total: steadyPlan('unlimited'), upstreams: new Map() }

const REGISTRY_LIMIT_BYTES = 256 * 1024 * 1024

/** imgadm and sdc-imgapi wait for an answer without a limit of their own; what is between us and them mostly does for a minute. */
const RECOMPRESS_PATIENCE_MS = 20_000
/** The mirror: what we hold, what upstreams claim, and what is fetched because somebody asked. */
export class PullThroughMirror implements Mirror {
  readonly publishing: Publishing
  readonly #publisher: Publisher
  /** For operators. Other ones after a change of the rules. */
  operations: MirrorOperations
  /** For bundles. */
  readonly carrying: Carrying
  readonly #jobs: Jobs
  readonly #pins: Pins
  /** For clients of Docker registries. */
  readonly registry: RegistryMirror
  #options: MirrorOptions
  readonly #catalogue: Catalogue
  #policies: ConflictPolicies
  readonly #heard: Heard
  readonly #refresher: Refresher
  readonly #inquiries: Inquiries
  readonly #flights: Flights
  readonly #keeping: Keeping
  readonly #recompression: Recompression
  readonly #surveyor: Surveyor
  readonly #prewarming: Prewarming
  readonly #held: HeldImages
  readonly #listed: ListedImages
  readonly #finder: ImageFinder
  readonly #icons: Icons
  readonly #abort = new AbortController()
  channels: Channels
  readonly ledger: Ledger
  #lookingBack: Promise<void> | undefined
  /** Whether everything from earlier runs is brought back. */
  #isReady = false

  /** Brings back what is known from earlier runs, and begins to ask the upstreams. */
  static async start(options: MirrorOptions): Promise<PullThroughMirror> {
    const mirror = new PullThroughMirror(options)
    await mirror.#pins.start()
    await mirror.#remember()
    mirror.#beginLedger()
    await mirror.#publisher.start()
    await mirror.registry.start()
    await mirror.#publisher.tidyFiles()
    await options.onBroughtBack?.(mirror.carrying)
    await mirror.#prewarming.start()
    mirror.#refresher.start()
    mirror.#keeping.start()
    await mirror.ledger.start()
    mirror.#recompression.wake()
    mirror.#lookingBack = mirror.#held.findMislabelled(mirror.#abort.signal)
    return mirror
  }

  private constructor(options: MirrorOptions) {
    this.#options = options
    const {
      channels = new Channels(),
      counters,
      log,
      missTtlMs,
      patienceMs,
      precedence,
      refreshMs,
      store,
      upstreams,
      withdrawn,
    } = options
    this.ledger = new Ledger({ store: store.ledger, counters, clock: systemClock, log })
    const { record } = this.ledger
    const onConflict = ({ uuid, ...facts }: Conflict) => {
      counters.conflictFound()
      // What comes back at start was recorded when it came.
      if (this.#isReady) record('conflicted', uuid, facts)
    }
    const onSettled = ({ uuid, differences, loser, winner }: Conflict) => {
      if (this.#isReady) record('settled', uuid, { winner, loser, differences })
    }
    const policies = options.policies ?? new ConflictPolicies()
    this.#policies = policies
    const catalogue = new Catalogue({
      precedence,
      withdrawn,
      channels,
      policies,
      log,
      onConflict,
      onSettled,
      derivationOf: (sha256) => store.registry.derivationOf(sha256),
      isMislabelled: (sha256) => this.#recompression.isMislabelled(sha256),
    })
    this.channels = channels
    const heard = new Heard({ catalogue, claims: store.claims, record, log })
    this.#catalogue = catalogue
    this.#heard = heard
    const onListing: RefresherOptions['onListing'] = async (upstream, listing) => {
      this.#recompression.wake()
      await this.registry.heard(upstream, listing)
      this.#prewarming.lookSoon()
    }
    this.#refresher = new Refresher({ upstreams, heard, catalogue, refreshMs, onListing, counters, log })
    this.#inquiries = new Inquiries({ upstreams, channels, catalogue, heard, missTtlMs, patienceMs, log })
    this.#pins = new Pins({ store: store.pins, configured: options.keeping.pins, record, log })
    this.#keeping = new Keeping({
      ...options.keeping,
      pinOf: (manifest) => this.#pins.firstOf(manifest),
      isWanted: (uuid) => this.#prewarming.isWanted(uuid),
      isWantedFile: (left) => this.#prewarming.isWantedFile(keyOfExpected(left) ?? ''),
      store,
      catalogue,
      underWay: () => [...this.#flights.all()].map(({ manifest }) => manifest),
      dockerImages: () => this.registry.images(),
      offersOf: (manifest) => this.#knownOffersOf(manifest),
      isMadeHere: (manifest) => this.#recompression.makes(manifest),
      fetch: (manifest, fileIndex) => this.#fetch(manifest, fileIndex),
      onChange: () => this.#prewarming.lookSoon(),
      counters,
      record,
      log,
    })
    this.#flights = new Flights({
      blobs: this.#keeping.room,
      makeRoom: (bytes) => this.#keeping.room.makeRoom(bytes),
      counters,
      record,
      log,
    })
    this.#recompression = new Recompression({
      ...{ store, catalogue, record, log },
      flights: this.#flights,
      room: this.#keeping.room,
      offersFor: (claims) => this.#offersFor(claims),
      onMade: (manifest) => this.#held.holdIfWhole(manifest),
      maxUnpackedBytes: options.maxLayerBytes,
      patienceMs: options.recompressPatienceMs ?? RECOMPRESS_PATIENCE_MS,
      isOffline: options.isOffline,
    })
    this.#held = new HeldImages({ ...{ store, catalogue, record, log }, recompression: this.#recompression })
    this.#listed = new ListedImages({
      ...{ catalogue, isOffline: options.isOffline },
      isWhole: (manifest) => this.#held.isWhole(manifest),
      maxAncestry: () => this.#options.maxAncestry,
    })
    this.#finder = new ImageFinder({
      ...{ catalogue, channels, refreshMs, maxAncestry: options.maxAncestry },
      ...{ inquiries: this.#inquiries, recompression: this.#recompression },
    })
    this.#icons = new Icons({
      ...{ store: store.icons, isOffline: options.isOffline, closing: this.#abort.signal },
      offersOf: (uuid) => this.#offersOf({ uuid }),
    })
    this.#publisher = new Publisher({
      ...options.publishing,
      ...{ store, catalogue, channels, record, log },
      isOffline: options.isOffline,
      maxAncestry: options.maxAncestry,
      room: this.#keeping.room,
      flights: this.#flights,
      find: (uuid) => this.#finder.find(uuid, this.#abort.signal),
      isOfDocker: (sha256) => this.registry.needs(sha256),
    })
    this.publishing = this.#publisher
    this.registry = new RegistryMirror({
      ...options,
      registries: options.registries ?? [],
      limitBytes: options.registryLimitBytes ?? REGISTRY_LIMIT_BYTES,
      flights: this.#flights,
      withheldFiles: () => this.#catalogue.withheldFiles(),
      record,
      forClient: (blob) => this.#keeping.forClient(blob),
    })
    this.#jobs = new Jobs({ log })
    this.#surveyor = new Surveyor({
      ...{ catalogue, store, flights: this.#flights, room: this.#keeping.room },
      maxAncestry: () => this.#options.maxAncestry,
      listed: () => this.#listed.now(),
      blobOf: (manifest, fileIndex) => this.#held.blobOf(manifest, fileIndex),
      lines: () => this.#options.prewarming?.lines() ?? NO_LINES,
    })
    this.#prewarming = new Prewarming({
      ...{ store: store.prewarming, jobs: this.#jobs, counters, log },
      policies: options.prewarming?.policies ?? [],
      isOffline: options.isOffline,
      survey: (wishes, nowMs) => this.#surveyor.survey(wishes, nowMs),
      refresh: async () => {
        await Promise.all(this.#options.upstreams.map(({ name }) => this.#refresher.refreshNow(name)))
      },
      find: (uuid, signal) => this.#finder.find(uuid, signal),
      pull: (pull) => pullFile(pull, this.#pullWays),
      held: (manifest) => this.#pullWays.held(manifest),
      hasRoom: (sizeBytes) => this.#keeping.room.fitsBesideTheWanted(sizeBytes),
      clock: systemClock,
    })
    this.operations = this.#makeOperations()
    this.carrying = this.#makeCarrying()
  }

  /**
   * Goes by other rules from now on. What is under way goes on as it began: flights with the upstreams that they know, until they
   * have landed (see `without`).
   */
  async change(rules: MirrorRules): Promise<void> {
    const { channels = new Channels(), policies = new ConflictPolicies(), precedence, upstreams } = rules
    const before = this.#options
    this.#options = { ...before, ...rules }
    this.channels = channels
    this.#policies = policies
    const all = { ...rules, channels, policies, registries: rules.registries ?? [] }
    this.#pins.change(rules.keeping.pins)
    this.#publisher.change({ ...all, ...rules.publishing })
    this.#inquiries.change(all)
    this.#finder.change(all)
    const added = before.isOffline ? [] : precedence.filter((name) => !before.precedence.includes(name))
    const recalled: Claim[] = []
    const isAdmitted = this.#makeAdmission(upstreams)
    for (const name of added) recalled.push(...(await before.store.claims.recall(name)).filter(isAdmitted))
    await this.#catalogue.change(all, isAdmitted, recalled)
    this.#listed.change()
    this.registry.change({ ...all, limitBytes: rules.registryLimitBytes ?? REGISTRY_LIMIT_BYTES })
    this.#refresher.change(rules)
    this.#keeping.change(rules.keeping)
    this.#recompression.change(rules.maxLayerBytes)
    await this.#prewarming.replace(rules.prewarming?.policies ?? [])
    this.#recompression.wake()
    this.operations = this.#makeOperations()
  }

  /** Resolves when no download may ask this upstream any more; it is no longer one of ours. */
  without(upstream: Upstream): Promise<void> {
    return this.#flights.without(upstream)
  }

  async listImages(query: ListQuery): Promise<ImageList> {
    const { firstAnswerWaitMs } = this.#options
    const catalogue = this.#catalogue
    const channel = this.channels.resolve(query.channel, 'read')
    if (!this.#heard.hasListings) await within(this.#refresher.firstAnswer, firstAnswerWaitMs)
    const listed = this.#listed.now()
    // All of those that are listed are in some channel.
    const isNarrowed = channel !== undefined && channel !== ALL_CHANNELS
    const shown = isNarrowed
      ? listed.manifests.filter((manifest) => this.channels.shows(manifest, channel))
      : listed.manifests
    const manifests = selectImages(shown, query, (uuid) => {
      const known = parseUuid(uuid)
      return known && catalogue.find(known)
    })
    return { manifests, revision: listed.revision }
  }

  async getImage(uuid: Uuid, signal: AbortSignal, asked?: string): Promise<Manifest> {
    const channel = this.channels.resolve(asked, 'read')
    const manifest = await this.#finder.show(uuid, signal, channel)
    const lacks = this.#lacksOffline(manifest)
    if (lacks.length > 0) throw incomplete(uuid, lacks)
    return manifest.type === 'docker' ? await this.#withSha1(manifest, signal) : manifest
  }

  imageAtHand(uuid: Uuid): Manifest | undefined {
    if (this.channels.areUsed && this.channels.default === undefined) return undefined
    const manifest = this.#finder.atHand(uuid, this.channels.default)
    // The SHA-1 of a layer that was measured has to be looked up.
    if (!manifest || manifest.type === 'docker' || this.#lacksOffline(manifest).length > 0) return undefined
    return manifest
  }

  revisionAtHand(): number | undefined {
    return this.#heard.hasListings ? this.#listed.now().revision : undefined
  }

  async findFile(uuid: Uuid, fileIndex: number, signal: AbortSignal, channel?: string): Promise<FileOnOffer> {
    const manifest = await this.getImage(uuid, signal, channel)
    const file = manifest.files[fileIndex]
    if (!file) {
      const which = manifest.files.length === 0 ? 'no file' : `no file at index ${fileIndex}`
      throw new MirrorError('FILE_UNKNOWN', `image "${uuid}" has ${which}`)
    }
    const blob = this.#held.blobOf(manifest, fileIndex)
    return {
      manifest,
      fileIndex,
      sizeBytes: file.sizeBytes,
      held: blob,
      isSpoilt: this.#flights.isSpoilt(manifest, fileIndex),
      open: (opening) => this.#open(manifest, fileIndex, opening),
    }
  }

  async getIcon(uuid: Uuid, signal: AbortSignal, channel?: string): Promise<KeptIcon> {
    const manifest = await this.getImage(uuid, signal, channel)
    const icon = await abortable(this.#icons.of(manifest), signal)
    if (!icon) throw new MirrorError('ICON_UNKNOWN', `image "${uuid}" has no icon`)
    return icon
  }

  async getChunks(uuid: Uuid, fileIndex: number, signal: AbortSignal, channel?: string): Promise<FileChunks> {
    const { held } = await this.findFile(uuid, fileIndex, signal, channel)
    const fingerprint = held && (await this.#options.store.blobs.fingerprint(held.sha256))
    if (!fingerprint) throw new MirrorError('FILE_UNKNOWN', `file ${fileIndex} of image "${uuid}" is not held here`)
    const { sizeBytes, sha256, sha1, md5, chunks } = fingerprint
    return { sizeBytes, sha256, sha1, md5, chunkBytes: CHUNK_BYTES, chunks }
  }

  status(): MirrorStatus {
    const { isOffline, store } = this.#options
    const { keptBytes, keptCount } = store.blobs
    return {
      isOffline,
      // Of what is known, clients are shown what is active (see selectImages).
      imagesListed: this.#listed.now().manifests.filter(({ state }) => state === 'active').length,
      imagesHeld: this.operations.images.countHeld(),
      imagesWithheld: this.#catalogue.count().withheld,
      blobsKept: keptCount,
      bytesKept: keptBytes,
      upstreams: this.#refresher.status(),
      flights: [...this.#flights.all()].map((flight) => ({
        uuid: flight.manifest.uuid,
        fileIndex: flight.fileIndex,
        sizeBytes: flight.expected.sizeBytes,
        receivedBytes: flight.receivedBytes,
        readers: flight.readers,
        upstream: flight.delivering,
      })),
      conflicts: this.#catalogue.conflicts(),
      keeping: this.#keeping.status(),
      ledgerDamaged: this.ledger.standing.damaged,
      recompression: this.#recompression.status(),
      prewarming: this.operations.prewarms.status().policies,
      imports: this.#publisher.imports(),
    }
  }

  /** Ends everything under way. The upstreams and the store are the caller's to close, after this. */
  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    this.#inquiries.close()
    // It begins nothing more, and what it has begun is a job.
    const prewarmed = this.#prewarming.close()
    await this.#jobs.close()
    await Promise.all([
      prewarmed,
      this.#refresher.close(),
      this.registry.close(),
      this.#flights.close(),
      this.#keeping.close(),
      this.#recompression.close(),
      this.#publisher.close(),
    ])
    await Promise.all([this.#heard.idle(), this.#lookingBack, this.#held.idle()])
    await this.ledger.close()
  }

  async #remember(): Promise<void> {
    const { log, precedence, store, upstreams } = this.#options
    const { claims, damagedLines, listings } = await store.claims.load()
    if (damagedLines > 0) log.warn({ damagedLines }, `${damagedLines} written claims were damaged and are left out`)
    // What is held first: claims are compared with it.
    this.#held.remember()
    this.#catalogue.hear(claims.filter(this.#makeAdmission(upstreams)))
    // An upstream that is configured no more, or under another name, has told us nothing to wait no longer for.
    this.#heard.remember(new Map([...listings].filter(([name]) => precedence.includes(name))))
  }

  /** Whether a claim that was heard earlier counts: filters may have changed since, and what they let through today does. */
  #makeAdmission(upstreams: readonly Upstream[]): (claim: Claim) => boolean {
    const upstreamOf = new Map(upstreams.map((upstream) => [upstream.name, upstream]))
    return (claim) => {
      if (!claim.isListed || this.#options.isOffline) return true
      const upstream = upstreamOf.get(claim.upstream)
      return upstream !== undefined && upstream.whyLeftOut(claim) === undefined
    }
  }

  /** A ledger that has nothing in it yet begins with what was here before it. */
  #beginLedger(): void {
    const { store } = this.#options
    if (store.ledger.standing.entries === 0) {
      for (const image of store.images.all()) {
        if (image.files.length === 0) continue
        this.ledger.record('found', image.manifest.uuid, {
          ...this.#held.factsOf(image),
          heldSinceMs: image.heldSinceMs,
        })
      }
      for (const { uuid, ...facts } of this.#catalogue.conflicts()) this.ledger.record('conflicted', uuid, facts)
    }
    this.#isReady = true
  }

  /** What an image and those it builds on lack here; offline, where nothing more will come. */
  #lacksOffline(manifest: Manifest): readonly Uuid[] {
    const { isOffline, maxAncestry } = this.#options
    return isOffline ? this.#catalogue.lacks(manifest, (each) => this.#held.isWhole(each), maxAncestry) : []
  }

  async #open(manifest: Manifest, fileIndex: number, opening: AbortSignal): Promise<OpenFile> {
    const { blobs } = this.#options.store
    const { counters } = this.#options
    const lost = this.#catalogue.held(manifest.uuid)?.files[fileIndex]
    if (lost) await this.#keeping.patched(lost.sha256)
    if (!this.#held.blobOf(manifest, fileIndex) && this.#recompression.makes(manifest)) {
      counters.fileAsked('miss')
      await this.#recompression.ready(manifest.uuid, opening)
    }
    const kept = this.#held.blobOf(manifest, fileIndex)
    const blob = kept && (await blobs.open(kept.sha256))
    if (blob) {
      counters.fileAsked('hit')
      this.ledger.served(manifest.uuid)
      this.#held.holdIfWhole(manifest)
      return openBlob(this.#keeping.forClient(blob))
    }
    // It vanished from the disk, which the store has noticed just now.
    if (kept) this.#catalogue.loseFile()
    if (this.#options.isOffline) throw incomplete(manifest.uuid, [manifest.uuid])
    let flight = this.#flights.find(manifest, fileIndex)
    counters.fileAsked(flight ? 'coalesced' : 'miss')
    flight ??= this.#flights.start(manifest, fileIndex, this.#offersOf(manifest))
    this.#held.holdAfter(flight, manifest)
    const file = await openFlight(flight, this.#options.holdbackBytes, opening)
    this.ledger.served(manifest.uuid)
    return file
  }

  #offersOf(manifest: Pick<Manifest, 'uuid'>): Offer[] {
    const offers = this.#knownOffersOf(manifest)
    if (offers.length > 0) return offers
    throw new MirrorError('UPSTREAM_UNREACHABLE', `no configured upstream offers image ${manifest.uuid} any more`)
  }

  #knownOffersOf({ uuid }: Pick<Manifest, 'uuid'>): Offer[] {
    return this.#offersFor(this.#catalogue.offersOf(uuid))
  }

  #offersFor(claims: readonly Claim[]): Offer[] {
    const { upstreams } = this.#options
    return claims.flatMap((claim) => {
      const upstream = upstreams.find((each) => each.name === claim.upstream)
      if (!upstream) return []
      const { awayPatienceMs, connections } = this.#options
      const { name } = upstream
      return {
        upstream,
        claim,
        connections: connections.get(name) ?? 1,
        awayPatienceMs: awayPatienceMs?.get(name) ?? 0,
      }
    })
  }

  /** Has a file fetched that nobody asked for. */
  async #fetch(manifest: Manifest, fileIndex: number): Promise<void> {
    if (this.#recompression.makes(manifest)) return await this.#recompression.make(manifest.uuid, 'background')
    await this.#fly(manifest, fileIndex).ended
  }

  /** The flight of a file that is not kept, begun or joined. */
  #fly(manifest: Manifest, fileIndex: number, by?: string): Flight {
    const flights = this.#flights
    const flight =
      flights.find(manifest, fileIndex) ?? flights.start(manifest, fileIndex, this.#offersOf(manifest), undefined, by)
    this.#held.holdAfter(flight, manifest)
    return flight
  }

  #makeOperations(): MirrorOperations {
    const { isOffline, log, maxAncestry, patienceMs, precedence, store, upstreams, withdrawn } = this.#options
    const explainer = new Explainer({
      ...{ catalogue: this.#catalogue, policies: this.#policies, channels: this.channels },
      ...{ upstreams, precedence, registryHosts: (this.#options.registries ?? []).map(({ host }) => host) },
      ...{ refresher: this.#refresher, keeping: this.#keeping, flights: this.#flights, store },
      ...{ isOffline, withdrawn, mode: this.#options.publishing.mode, maxAncestry, patienceMs },
      listed: () => this.#listed.now().manifests,
      isHeld: (manifest) => this.#held.isWhole(manifest),
      wantedBy: (uuid) => wantedBy(uuid, this.#prewarming),
      getImage: (uuid, signal) => this.getImage(uuid, signal, ALL_CHANNELS),
    })
    const blobOf = (manifest: Manifest, fileIndex: number) => this.#held.blobOf(manifest, fileIndex)
    const ours = { store, catalogue: this.#catalogue, keeping: this.#keeping, jobs: this.#jobs, pins: this.#pins, log }
    const images = new KnownImages({
      ...ours,
      maxAncestry,
      find: (uuid, signal) => this.#finder.find(uuid, signal),
      blobOf,
      lastCheckMs: (sha256) => this.#keeping.checkedMs(sha256),
      entriesAbout: (uuid) => store.ledger.newest(uuid, ENTRIES_LOOKED_AT),
    })
    const auditing = new Auditing({
      ledger: this.ledger,
      upstreams,
      held: () => this.#held.ofUpstreams(),
      hasClaimed: (upstream, uuid) => this.#catalogue.claimOf(upstream, uuid) !== undefined,
    })
    return {
      jobs: this.#jobs,
      auditing,
      images,
      pins: this.#pins,
      pulls: new Pulls({ ...ours, images, isOffline, blobOf, ways: this.#pullWays }),
      prewarms: new Prewarms({
        ...ours,
        ...{ prewarming: this.#prewarming, surveyor: this.#surveyor, room: this.#keeping.room, isOffline },
        now: () => systemClock.wallMs(),
      }),
      removals: new Removals({ ...ours, images, room: this.#keeping.room }),
      verification: new Verification({ ...ours, images }),
      adoption: new Adoption({
        ...ours,
        images,
        blobOf,
        room: this.#keeping.room,
        foreign: store.foreign,
        hold: (image) => this.#held.hold(image),
      }),
      upstreams: new UpstreamQuestions({ upstreams, refresher: this.#refresher, log }),
      status: () => this.status(),
      lookAtDisk: () => this.#keeping.room.look(),
      explain: async (what, signal, awaitedOf) => {
        await this.#prewarming.lookAgain()
        return await explainer.explain(what, signal, awaitedOf)
      },
    }
  }

  #makeCarrying(): Carrying {
    const { isOffline, log, maxAncestry, store } = this.#options
    const { images, jobs, pulls } = this.operations
    return {
      ...{ store, jobs, images, pulls, isOffline, maxAncestry, log },
      ...{ catalogue: this.#catalogue, pins: this.#pins, room: this.#keeping.room, ledger: this.ledger },
      blobOf: (manifest, fileIndex) => this.#held.blobOf(manifest, fileIndex),
      verified: (blob) => this.#keeping.verified(blob),
      hold: (image) => this.#held.hold(image),
      sawTag: (tag) => this.registry.brought(tag),
      iconOf: (manifest) => this.#icons.of(manifest),
    }
  }

  get #pullWays(): PullWays {
    const recompression = this.#recompression
    return {
      make: (manifest, priority) =>
        recompression.makes(manifest) ? recompression.make(manifest.uuid, priority) : undefined,
      fly: (manifest, fileIndex, by) => this.#fly(manifest, fileIndex, by),
      held: (manifest) => this.#held.heldIfWhole(manifest),
    }
  }

  /**
   * A Docker layer has a sha1 once it is held. One that came for another image, which has it too, is held as soon as
   * anybody asks for it, or made anew, if it is not what its image says.
   */
  async #withSha1(manifest: Manifest, signal: AbortSignal): Promise<Manifest> {
    const { uuid } = manifest
    await this.#held.heldIfWhole(manifest)
    if (this.#catalogue.isUnready(uuid)) await this.#recompression.ready(uuid, signal)
    return this.#catalogue.find(uuid) ?? manifest
  }
}

function incomplete(uuid: Uuid, lacks: readonly Uuid[]): MirrorError {
  return new MirrorError(
    'IMAGE_INCOMPLETE',
    `image ${uuid} is not complete here, and this mirror is offline: it lacks ${lacks.map((each) => `the file of image ${each}`).join(', ')}`,
  )
}

/** Waits for `promise`, but no longer than `ms`. */
async function within(promise: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([promise, timeout])
  clearTimeout(timer)
}
