import { isMirrorError, MirrorError } from '../../errors.js'
import { ancestryOf } from '../../images/ancestry.js'
import { identityDifferences } from '../../images/identity.js'
import type { Manifest } from '../../images/manifest.js'
import { parseUuid, type Uuid } from '../../images/uuid.js'
import type { HeldFile, HeldImage } from '../../store/image-store.js'
import type { Store } from '../../store/store.js'
import type { Upstream } from '../../upstream/upstream.js'
import type { Catalogue } from '../catalogue.js'
import type { Channels } from '../channels.js'
import type { ConflictPolicies } from '../conflict-policies.js'
import type { Flights } from '../flights.js'
import type { Keeping } from '../keeping/keeping.js'
import type { Refresher } from '../refresher.js'
import { cameBy, ENTRIES_LOOKED_AT } from './came-by.js'
import { explainInWords } from './explain-in-words.js'
import type {
  AncestorView,
  AwaitedView,
  EvictionView,
  Explanation,
  HeldFileView,
  HeldView,
  ImageExplanation,
  ImageName,
  PinView,
  PolicyView,
  Reason,
  UpstreamView,
  WantedByView,
} from './explanation.js'
import { findNamed } from './find-named.js'

export interface ExplainerOptions {
  readonly catalogue: Catalogue
  readonly policies: ConflictPolicies
  readonly channels: Channels
  /** In order of precedence; empty when offline. */
  readonly upstreams: readonly Upstream[]
  /** Names of all configured upstreams in order of precedence, also when offline. */
  readonly precedence: readonly string[]
  readonly registryHosts: readonly string[]
  readonly refresher: Refresher
  readonly keeping: Keeping
  readonly flights: Flights
  readonly store: Pick<Store, 'blobs' | 'images' | 'ledger'>
  readonly isOffline: boolean
  readonly withdrawn: 'list' | 'hide'
  /** `private`: images that are not public are seen by users alone. */
  readonly mode: 'public' | 'private'
  readonly maxAncestry: number
  /** How long upstreams that do not answer are waited for. */
  readonly patienceMs: number
  /** What clients may list now. */
  readonly listed: () => readonly Manifest[]
  readonly isHeld: (manifest: Manifest) => boolean
  /** By which prewarm policies. */
  readonly wantedBy: (uuid: Uuid) => readonly WantedByView[]
  /** As a client gets it. @throws MirrorError. */
  readonly getImage: (uuid: Uuid, signal: AbortSignal) => Promise<Manifest>
}

/** How many further images of a name are named. */
const OTHERS_SHOWN = 20
/** How many of the newest entries of the ledger are told. */
const LEDGER_SHOWN = 8
/** How many images that pin another one are named. */
const PINS_SHOWN = 10

/** Says of an image why it is answered as it is, from what everybody in the mirror knows of it. Changes nothing. */
export class Explainer {
  readonly #options: ExplainerOptions

  constructor(options: ExplainerOptions) {
    this.#options = options
  }

  /**
   * @param asked a uuid, a name, name@version, or the repository:tag of a Docker image. Of an image that nobody lists, the
   *   upstreams are asked, as they are when a client asks.
   * @param awaitedOf which bundles that have come in part are to bring it.
   * @throws MirrorError QUERY_INVALID for a text that is too long to be any of these.
   */
  async explain(
    asked: string,
    signal: AbortSignal,
    awaitedOf: (uuid: Uuid) => readonly AwaitedView[] = () => [],
  ): Promise<Explanation> {
    if (asked.length > 1024) throw new MirrorError('QUERY_INVALID', 'what is to be explained is longer than any name')
    const uuid = parseUuid(asked.toLowerCase())
    const [first, ...others] = uuid ? [{ uuid }] : this.#named(asked)
    const image = first ? { ...(await this.#image(first.uuid, signal)), awaited: awaitedOf(first.uuid) } : null
    const facts = { asked, image, others: uuid ? [] : (others as ImageName[]).slice(0, OTHERS_SHOWN) }
    const explanation = { ...facts, otherCount: uuid ? 0 : others.length }
    return { ...explanation, words: explainInWords(explanation, (each) => this.#nameOf(each)) }
  }

  #named(asked: string): readonly ImageName[] {
    const { catalogue, precedence, refresher, registryHosts } = this.#options
    const leftOut = precedence.flatMap((name) => refresher.rejectedBy(name).leftOut)
    return findNamed(asked, { manifests: catalogue.all(), leftOut, hosts: registryHosts })
  }

  #nameOf(uuid: Uuid): ImageName | undefined {
    const { catalogue } = this.#options
    const manifest = catalogue.find(uuid) ?? catalogue.withheld(uuid)?.reference.manifest
    return manifest && nameOf(manifest)
  }

  async #image(uuid: Uuid, signal: AbortSignal): Promise<Omit<ImageExplanation, 'awaited'>> {
    const { catalogue, channels, flights, isHeld, listed, maxAncestry } = this.#options
    // First, since it asks the upstreams where that is worth it, and what they say is in the catalogue then.
    const refusal = await this.#refusalOf(uuid, signal)
    const upstreams = await this.#upstreams(uuid, signal)
    const withheld = catalogue.withheld(uuid)
    const manifest = catalogue.find(uuid) ?? withheld?.reference.manifest ?? catalogue.claimsOf(uuid)[0]?.manifest
    const isListed = listed().some((each) => each.uuid === uuid && each.state === 'active')
    const broken = manifest && ancestryOf(manifest, (each) => this.#known(each), maxAncestry).broken
    const found = catalogue.find(uuid)
    const leftOut = this.#leftOut(uuid)
    const pins = manifest ? this.#pins(manifest) : []
    return {
      uuid,
      name: manifest?.name ?? leftOut?.name ?? null,
      version: manifest?.version ?? leftOut?.version ?? null,
      type: manifest?.type ?? null,
      os: manifest?.os ?? null,
      state: manifest?.state ?? null,
      isPublic: manifest?.isPublic ?? null,
      publishedMs: manifest?.publishedAt === undefined ? null : Date.parse(manifest.publishedAt),
      isListed,
      isServed: refusal === undefined,
      reasons: this.#reasons(uuid, found, { isListed, refusal, upstreams }),
      upstreams,
      stands: catalogue.winnerOf(uuid) ?? null,
      policy: this.#policy(uuid, manifest),
      channels: channels.areUsed && found ? (found.channels ?? []) : null,
      held: this.#held(uuid),
      flights: [...flights.all()]
        .filter((flight) => flight.manifest.uuid === uuid)
        .map(({ expected, fileIndex, receivedBytes }) => ({ fileIndex, sizeBytes: expected.sizeBytes, receivedBytes })),
      pins,
      wantedBy: this.#options.wantedBy(uuid),
      eviction: this.#eviction(uuid, pins),
      ancestry: manifest ? this.#ancestry(manifest) : [],
      brokenAncestry: broken?.message ?? null,
      ...(await this.#ledger(uuid)),
      offlineLacks: found ? catalogue.lacks(found, isHeld, maxAncestry) : [uuid],
    }
  }

  /** What keeps a client from getting it by uuid. */
  async #refusalOf(uuid: Uuid, signal: AbortSignal): Promise<MirrorError | undefined> {
    try {
      await this.#options.getImage(uuid, signal)
      return undefined
    } catch (error) {
      if (!isMirrorError(error)) throw error
      return error
    }
  }

  #leftOut(uuid: Uuid) {
    const { precedence, refresher } = this.#options
    for (const name of precedence) {
      const found = refresher.rejectedBy(name).leftOut.find((each) => each.uuid === uuid)
      if (found) return found
    }
    return undefined
  }

  async #upstreams(uuid: Uuid, signal: AbortSignal): Promise<UpstreamView[]> {
    const { precedence } = this.#options
    return await Promise.all(precedence.map((name) => this.#upstream(name, uuid, signal)))
  }

  async #upstream(name: string, uuid: Uuid, signal: AbortSignal): Promise<UpstreamView> {
    const { catalogue, refresher, upstreams } = this.#options
    const status = refresher.status().find((each) => each.name === name)
    const claim = catalogue.claimOf(name, uuid)
    const identity = catalogue.identityOf(uuid)
    const view: UpstreamView = {
      name,
      url: status?.url ?? null,
      says: 'has none',
      why: null,
      firstHeardMs: claim?.firstHeardMs ?? null,
      lastHeardMs: claim?.lastHeardMs ?? null,
      withdrawnMs: claim?.withdrawnMs ?? null,
      differences: claim && identity ? identityDifferences(identity, claim.manifest) : [],
      error: status?.lastError ?? null,
    }
    const { leftOut, setAside } = refresher.rejectedBy(name)
    const filtered = leftOut.find((each) => each.uuid === uuid)
    if (filtered) return { ...view, says: 'left out', why: filtered.reason }
    const rubbish = setAside.find(({ what }) => what === uuid)
    if (rubbish && !claim) return { ...view, says: 'set aside', why: rubbish.reason }
    if (claim) {
      const isStanding = claim.withdrawnMs === undefined
      return { ...view, says: isStanding ? (claim.isListed ? 'has it' : 'has it unlisted') : 'withdrew it' }
    }
    const upstream = upstreams.find((each) => each.name === name)
    return upstream ? { ...view, ...(await this.#asked(upstream, uuid, signal)) } : { ...view, says: 'not asked' }
  }

  /** What an upstream says of an image that it does not list. */
  async #asked(upstream: Upstream, uuid: Uuid, signal: AbortSignal): Promise<Pick<UpstreamView, 'says' | 'why'>> {
    const patience = AbortSignal.timeout(this.#options.patienceMs)
    try {
      const statement = await upstream.getImage(uuid, AbortSignal.any([signal, patience]))
      if (!statement) return { says: 'has none', why: null }
      const why = upstream.whyLeftOut(statement)
      return why === undefined ? { says: 'has it unlisted', why: null } : { says: 'left out', why }
    } catch (error) {
      if (signal.aborted) throw error
      if (patience.aborted) return { says: 'unknown', why: `no answer in ${this.#options.patienceMs / 1000} s` }
      if (!isMirrorError(error)) throw error
      return { says: 'unknown', why: error.message }
    }
  }

  #reasons(
    uuid: Uuid,
    found: Manifest | undefined,
    state: { isListed: boolean; refusal: MirrorError | undefined; upstreams: readonly UpstreamView[] },
  ): Reason[] {
    const { catalogue, mode } = this.#options
    const { isListed, refusal, upstreams } = state
    const reasons: Reason[] = []
    const withheld = catalogue.withheld(uuid)
    if (withheld) reasons.push({ code: 'withheld', text: `It is withheld by ${withheld.from}: ${withheld.why}.` })
    else if (!found) reasons.push(this.#whyUnknown(uuid, upstreams))
    else if (refusal) reasons.push(refusalReason(refusal))
    if (found && !isListed && reasons.length === 0) reasons.push(...this.#whyUnlisted(found, upstreams))
    if (found && mode === 'private' && !found.isPublic) {
      reasons.push({ code: 'private', text: 'It is not public, and this mirror shows such images to its users alone.' })
    }
    if (found && !refusal && this.#isLost(uuid, upstreams)) {
      reasons.push({ code: 'file lost', text: 'What was kept of it is damaged, and nobody has it to mend that.' })
    }
    return reasons
  }

  /** Whether a file of a held image is gone, and cannot be fetched again. */
  #isLost(uuid: Uuid, upstreams: readonly UpstreamView[]): boolean {
    const { catalogue, isOffline, store } = this.#options
    const files = catalogue.held(uuid)?.files ?? []
    if (files.every(({ sha256 }) => store.blobs.find({ algorithm: 'sha256', hex: sha256 }))) return false
    return isOffline || upstreams.every(({ says }) => says !== 'has it' && says !== 'has it unlisted')
  }

  #whyUnknown(uuid: Uuid, upstreams: readonly UpstreamView[]): Reason {
    const claims = this.#options.catalogue.claimsOf(uuid)
    const leftOut = upstreams.filter(({ says }) => says === 'left out')
    if (leftOut.length > 0) {
      const filters = leftOut.map(({ name, why }) => `of ${name} by ${why}`).join(', and ')
      return { code: 'left out', text: `Our filters leave it out: ${filters}.` }
    }
    const setAside = upstreams.find(({ says }) => says === 'set aside')
    if (setAside) {
      return { code: 'left out', text: `What ${setAside.name} lists under this uuid cannot be used: ${setAside.why}.` }
    }
    const lastMs = Math.max(...claims.map(({ withdrawnMs }) => withdrawnMs ?? 0))
    if (claims.length > 0) {
      return { code: 'withdrawn', text: `Nobody has it any more, since ${isoTime(lastMs)}, and it is not held here.` }
    }
    const silent = upstreams.filter(({ says }) => says === 'unknown').map(({ name }) => name)
    const more = silent.length > 0 ? `; ${silent.join(' and ')} could not be asked` : ''
    const isAsked = !this.#options.isOffline && upstreams.length > 0
    return { code: 'unknown', text: isAsked ? `No upstream has it${more}.` : 'It is not here, and nobody is asked.' }
  }

  #whyUnlisted({ channels, state, uuid }: Manifest, upstreams: readonly UpstreamView[]): Reason[] {
    const { catalogue, isOffline } = this.#options
    if (state !== 'active') {
      return [{ code: 'not active', text: `Its state is ${state}: lists show it only to who asks for that state.` }]
    }
    if (channels?.length === 0) {
      return [{ code: 'no channel', text: 'It is in none of our channels, so nobody sees it.' }]
    }
    if (isOffline) return [{ code: 'incomplete offline', text: 'This mirror is offline and lacks something of it.' }]
    const isHeld = catalogue.held(uuid) !== undefined
    if (isHeld && this.#options.withdrawn === 'hide' && upstreams.every(({ says }) => says !== 'has it')) {
      return [{ code: 'hidden', text: 'It is held, but nobody lists it any more, and withdrawn: hide is configured.' }]
    }
    return [
      { code: 'not listed upstream', text: 'No upstream lists it; one had it when it was asked for by its uuid.' },
    ]
  }

  #policy(uuid: Uuid, manifest: Manifest | undefined): PolicyView | null {
    if (!manifest || this.#options.store.images.get(uuid)?.publication) return null
    const { policy, from } = this.#options.policies.for(this.#known(uuid) ?? manifest)
    const text = typeof policy === 'string' ? policy : Object.entries(policy)[0]!.join(': ')
    const withheld = this.#options.catalogue.withheld(uuid)
    return { policy: text, from, isWithheld: withheld !== undefined, why: withheld?.why ?? null }
  }

  async #ledger(uuid: Uuid): Promise<Pick<ImageExplanation, 'cameBy' | 'ledger'>> {
    try {
      const entries = await this.#options.store.ledger.newest(uuid, ENTRIES_LOOKED_AT)
      return {
        cameBy: cameBy(entries),
        ledger: entries.slice(-LEDGER_SHOWN).map(({ atMs, facts, kind, seq }) => ({ seq, atMs, kind, facts })),
      }
    } catch (error) {
      // What the disk does not give cannot be told; everything else can.
      if (!isMirrorError(error, 'STORE_BROKEN')) throw error
      return { cameBy: null, ledger: [] }
    }
  }

  #held(uuid: Uuid): HeldView | null {
    const image = this.#options.catalogue.held(uuid)
    if (!image) return null
    return {
      sinceMs: image.heldSinceMs,
      publishedBy: image.publication?.createdBy ?? null,
      files: image.files.map((file, index) => this.#heldFile(file, index, image.manifest)),
    }
  }

  #heldFile({ corrections, extents, sha256 }: HeldFile, index: number, { files }: Manifest): HeldFileView {
    const { keeping, store } = this.#options
    const blob = store.blobs.find({ algorithm: 'sha256', hex: sha256 })
    const bytes = new Map<string, number>()
    for (const { upstream, startBytes, endBytes } of extents) {
      bytes.set(upstream, (bytes.get(upstream) ?? 0) + endBytes - startBytes)
    }
    return {
      index,
      sizeBytes: blob?.sizeBytes ?? files[index]?.sizeBytes ?? 0,
      sha256,
      sha1: blob?.sha1 ?? null,
      keptMs: blob?.keptMs ?? null,
      lastReadMs: store.blobs.lastUsedMs(sha256) ?? null,
      checkedMs: keeping.checkedMs(sha256) ?? null,
      sources: [...bytes].map(([upstream, each]) => ({ upstream, bytes: each })),
      corrections: corrections.map(({ atMs, endBytes, rightFrom, startBytes, wrongFrom }) => ({
        startBytes,
        endBytes,
        wrongFrom: [...new Set(wrongFrom.map(({ upstream }) => upstream))],
        rightFrom,
        atMs,
      })),
    }
  }

  #pins(manifest: Manifest): PinView[] {
    const { catalogue, keeping, store } = this.#options
    const pins: PinView[] = []
    const own = keeping.room.pinOf(manifest)
    if (own) pins.push({ by: own.by, pin: own.text, through: null })
    for (const { manifest: held } of store.images.all()) {
      if (pins.length >= PINS_SHOWN) break
      if (held.uuid === manifest.uuid || held.origin === undefined) continue
      const answered = catalogue.find(held.uuid) ?? held
      const pin = keeping.room.pinOf(answered)
      if (!pin) continue
      const { images } = ancestryOf(answered, (uuid) => this.#known(uuid), this.#options.maxAncestry)
      const isBelow = images.some(({ uuid, origin }) => uuid === manifest.uuid || origin === manifest.uuid)
      if (isBelow) pins.push({ by: pin.by, pin: pin.text, through: nameOf(answered) })
    }
    return pins
  }

  #eviction(uuid: Uuid, pins: readonly PinView[]): EvictionView | null {
    const { catalogue, keeping } = this.#options
    const held = catalogue.held(uuid)
    if (!held) return null
    const { quotaBytes, usedBytes } = keeping.room.status()
    const use = { quotaBytes: quotaBytes ?? null, usedBytes }
    const leaving = keeping.room.whatWouldLeave(Number.MAX_SAFE_INTEGER)
    const place = leaving.findIndex((each) => each.uuid === uuid)
    const departure = leaving[place]
    if (!departure) {
      return { mayLeave: false, why: whyItStays(held, pins), before: null, ...use }
    }
    const before = leaving.slice(0, place)
    const bytes = before.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    const last = before.findLast((each) => each.uuid !== undefined)?.uuid ?? null
    return { mayLeave: true, why: departure.why, before: { count: before.length, bytes, last }, ...use }
  }

  #ancestry(manifest: Manifest): AncestorView[] {
    const { catalogue, isHeld, maxAncestry } = this.#options
    const { images, missing } = ancestryOf(manifest, (uuid) => this.#known(uuid), maxAncestry)
    const views = images.map((each): AncestorView => {
      const is = catalogue.withheld(each.uuid)
        ? 'withheld'
        : !catalogue.find(each.uuid)
          ? 'unknown'
          : isHeld(each)
            ? 'held'
            : 'not held'
      return { ...nameOf(each), is }
    })
    return missing ? [...views, { uuid: missing, name: null, version: null, is: 'unknown' }] : views
  }

  /** Also what is withheld. */
  #known(uuid: Uuid): Manifest | undefined {
    const { catalogue } = this.#options
    return catalogue.find(uuid) ?? catalogue.withheld(uuid)?.reference.manifest
  }
}

function nameOf({ name, uuid, version }: Manifest): ImageName {
  return { uuid, name, version }
}

function whyItStays({ publication }: HeldImage, [pin]: readonly PinView[]): string {
  if (publication) return 'it was published here, and there may be no other copy of it'
  if (pin) return pin.through ? 'what builds on it is pinned' : 'it is pinned'
  return 'what builds on it was published here or is being fetched, or it has no file to itself'
}

function refusalReason({ code, message }: MirrorError): Reason {
  const text = `${message[0]!.toUpperCase()}${message.slice(1)}.`
  if (code === 'IMAGE_WITHHELD') return { code: 'origin withheld', text }
  if (code === 'ANCESTRY_BROKEN') return { code: 'ancestry broken', text }
  if (code === 'IMAGE_INCOMPLETE') return { code: 'incomplete offline', text }
  if (code === 'IMAGE_UNKNOWN') return { code: 'no channel', text: 'It is in none of our channels, so nobody sees it.' }
  return { code: 'refused', text }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
