import { setImmediate as nextTurn } from 'node:timers/promises'
import { ancestryOf } from '../images/ancestry.js'
import { shareChannels } from '../images/channel-names.js'
import type { Claim } from '../images/claim.js'
import { asRemade } from '../images/docker/layer-facts.js'
import { identityDifferences } from '../images/identity.js'
import type { Manifest } from '../images/manifest.js'
import { compareByPublication } from '../images/match-query.js'
import type { Uuid } from '../images/uuid.js'
import type { Log } from '../parts/log.js'
import type { HeldImage } from '../store/image-store.js'
import type { Derivation } from '../store/registry-store.js'
import { Channels } from './channels.js'
import { chooseWinner, type Held, isOurs, stands, type Winner, type Withheld } from './choose-winner.js'
import { ConflictPolicies } from './conflict-policies.js'
import type { Conflict } from './mirror.js'

export interface CatalogueOptions {
  /** The configured upstreams' names; order is precedence. Claims of any other upstream are history, and ignored. */
  readonly precedence: readonly string[]
  /** Whether a held image that no upstream lists any more stays in our lists. */
  readonly withdrawn: 'list' | 'hide'
  /** Without them, images are in none, and say nothing of channels. */
  readonly channels?: Channels
  /** What becomes of images that upstreams disagree about. Without it, order decides. */
  readonly policies?: ConflictPolicies
  /** What became of a file that clients of IMGAPI could not unpack; `undefined` while nothing has. */
  readonly derivationOf?: (sha256: string) => Derivation | undefined
  /** Whether a file turned out to be one that they could not unpack, though nobody said so. */
  readonly isMislabelled?: (sha256: string) => boolean
  readonly log: Log
  readonly onConflict?: (conflict: Conflict) => void
  /** Those who disagreed agree, or one of them has nothing to say any more. */
  readonly onSettled?: (conflict: Conflict) => void
}

interface Entry {
  /** At most one per upstream, in order of precedence. */
  readonly claims: readonly Claim[]
  /** Those of them that clients may be told of: a file to be made anew is what it has become, or left out until it has. */
  readonly ready: readonly Claim[]
  readonly held: Held | undefined
  /** What we answer; `undefined` while nobody has the image any more, or it is withheld. */
  readonly winner: Winner | undefined
  readonly withheld: Withheld | undefined
}

/**
 * Everything all upstreams claim, merged by uuid. The rules:
 *
 * - An image that was published here is as it was published here, whatever upstreams claim.
 * - Of others, the first upstream in the configuration that has an image wins, unless a policy says otherwise, which may
 *   also withhold an image from everybody, and with it all that builds on it (see choose-winner.ts).
 * - A held image keeps its sha1, size and origin whatever is claimed later: only claims that agree with what we measured,
 *   and declare as much as we promised, can win. Of a held Docker layer we show what we measured, whoever wins: its
 *   tags move, and its registry never says a sha1.
 * - Claims that disagree with the winner on sha1, size or origin are kept as conflicts, as long as there is a winner.
 * - An image that an upstream stops listing is withdrawn there: it is gone from our list unless another upstream has
 *   it, or we hold it.
 * - A claim of a file that has to be packed anew counts when that was done, and as what came of it. Until then nobody
 *   is told of the image, nor, in a list, of what builds on it.
 * - On a mirror with channels, an image is in those that claims put it into which agree with the winner: the ones that stand,
 *   or, of a held image, the withdrawn ones when none stands. One that was published here is where it was published.
 *
 * In memory only. Claims reach the disk before they reach the catalogue.
 */
export class Catalogue {
  readonly #entries = new Map<Uuid, Entry>()
  readonly #conflicts = new Map<string, Conflict>()
  /** Images that only claims speak of whose file is still to be packed anew. */
  readonly #unready = new Set<Uuid>()
  #rank: ReadonlyMap<string, number>
  #options: CatalogueOptions
  #channels: Channels
  #policies: ConflictPolicies
  readonly #withheld = new Set<Uuid>()
  #listedCounts: { readonly changes: number; readonly counts: ReadonlyMap<string, number> } | undefined
  #withheldFiles: { readonly revision: number; readonly files: ReadonlyMap<string, Uuid> } | undefined
  #revision = 1
  #holdings = 0
  #changes = 0
  #listed: readonly Manifest[] | undefined
  #origins: ReadonlySet<Uuid> | undefined

  constructor(options: CatalogueOptions) {
    this.#options = options
    this.#channels = options.channels ?? new Channels()
    this.#policies = options.policies ?? new ConflictPolicies()
    this.#rank = rankOf(options.precedence)
  }

  /**
   * Looks at everything again as the operator decides now. Others have turns in between, and find some images as they were and some as
   * they are.
   * @param keeps of what is known already, which claims count: filters may have changed.
   * @param recalled what upstreams claim that did not count before.
   */
  async change(
    rules: Pick<CatalogueOptions, 'precedence' | 'withdrawn' | 'channels' | 'policies'>,
    keeps: (claim: Claim) => boolean,
    recalled: readonly Claim[],
  ): Promise<void> {
    this.#options = { ...this.#options, ...rules }
    this.#channels = rules.channels ?? new Channels()
    this.#policies = rules.policies ?? new ConflictPolicies()
    this.#rank = rankOf(rules.precedence)
    let seen = 0
    for (const uuid of [...this.#entries.keys()]) {
      if (++seen % IMAGES_A_TURN === 0) await nextTurn()
      const { claims, held } = this.#entries.get(uuid)!
      this.#put(uuid, this.#inOrder(claims.filter(keeps)), held)
    }
    for (let start = 0; start < recalled.length; start += IMAGES_A_TURN) {
      await nextTurn()
      this.hear(recalled.slice(start, start + IMAGES_A_TURN))
    }
    // What lists look like may have changed without any image.
    this.#listed = undefined
    this.#revision++
  }

  /** Changes whenever the unfiltered list may have changed. */
  get revision(): number {
    return this.#revision
  }

  /** Changes whenever it may have changed which of the listed images are complete. */
  get revisionOfComplete(): number {
    return this.#revision + this.#holdings
  }

  /** Changes whenever anything may have changed that is known of any image. */
  get changes(): number {
    return this.#changes + this.#holdings
  }

  /** The image as we answer it, in any state, listed or not. */
  find(uuid: Uuid): Manifest | undefined {
    return this.#entries.get(uuid)?.winner?.manifest
  }

  /** Why an image is kept from everybody, if it is: `find` does not know it then. */
  withheld(uuid: Uuid): Withheld | undefined {
    return this.#entries.get(uuid)?.withheld
  }

  /** Whose word stands, as people would call them. */
  winnerOf(uuid: Uuid): string | undefined {
    return this.#entries.get(uuid)?.winner?.name
  }

  /** What claims about an image are compared with, also while it is withheld. */
  identityOf(uuid: Uuid): Manifest | undefined {
    const { winner, withheld } = this.#entries.get(uuid) ?? {}
    return (winner ?? withheld?.reference)?.identity
  }

  /** Whether what further upstreams say may still decide whether this image is answered for. */
  awaitsEverybody(uuid: Uuid): boolean {
    const { held, winner, withheld } = this.#entries.get(uuid) ?? {}
    const answer = winner ?? withheld?.reference
    if (!answer || isOurs(held)) return false
    const { policy } = this.#policies.for(answer.manifest)
    return policy === 'withhold' || (typeof policy === 'object' && 'quorum' in policy)
  }

  /** By their sha256, files that are of withheld images alone, and of which. */
  withheldFiles(): ReadonlyMap<string, Uuid> {
    if (this.#withheldFiles?.revision !== this.#revision) {
      this.#withheldFiles = { revision: this.#revision, files: this.#findWithheldFiles() }
    }
    return this.#withheldFiles.files
  }

  held(uuid: Uuid): HeldImage | undefined {
    return this.#entries.get(uuid)?.held?.image
  }

  /** What is claimed of an image, standing or withdrawn, in order of precedence. */
  claimsOf(uuid: Uuid): readonly Claim[] {
    return this.#entries.get(uuid)?.claims ?? []
  }

  claimOf(upstream: string, uuid: Uuid): Claim | undefined {
    return this.claimsOf(uuid).find((claim) => claim.upstream === upstream)
  }

  /** All claims of one upstream that stand and are in its list. */
  *listedBy(upstream: string): Iterable<Claim> {
    for (const { claims } of this.#entries.values()) {
      const claim = claims.find((candidate) => candidate.upstream === upstream)
      if (claim?.isListed && claim.withdrawnMs === undefined) yield claim
    }
  }

  /** How many those are. Asked for at every scrape, and counted anew only when something has changed. */
  listedCountOf(upstream: string): number {
    if (this.#listedCounts?.changes !== this.#changes) {
      const counts = new Map<string, number>()
      for (const { claims } of this.#entries.values()) {
        for (const claim of claims) {
          if (claim.isListed && stands(claim)) counts.set(claim.upstream, (counts.get(claim.upstream) ?? 0) + 1)
        }
      }
      this.#listedCounts = { changes: this.#changes, counts }
    }
    return this.#listedCounts.counts.get(upstream) ?? 0
  }

  /**
   * Whom to ask for the files of an image: claims that agree with what we answer, standing ones first, then withdrawn
   * ones, since servers go on serving what they no longer list. Of a withheld image that is held, too: it is kept whole.
   */
  offersOf(uuid: Uuid): readonly Claim[] {
    const entry = this.#entries.get(uuid)
    const answer = entry?.winner ?? entry?.withheld?.reference
    if (!entry || !answer) return []
    const { identity } = answer
    const agreeing = entry.ready.filter(
      (claim) => !this.#needsRemaking(claim) && identityDifferences(identity, claim.manifest).length === 0,
    )
    return standingFirst(agreeing)
  }

  /** Claims of files that have to be packed anew, as their upstreams have them; standing ones first. */
  originalsOf(uuid: Uuid): readonly Claim[] {
    return standingFirst(this.claimsOf(uuid).filter((claim) => this.#needsRemaking(claim)))
  }

  /** Images of which somebody claims that this is their first file, in no order. Looks through all. */
  claimedWith(sha256: string): readonly Uuid[] {
    const found: Uuid[] = []
    for (const [uuid, { claims }] of this.#entries) {
      if (claims.some(({ manifest }) => firstSha256Of(manifest) === sha256)) found.push(uuid)
    }
    return found
  }

  /** Whether somebody has the image, but only in a form that has to be packed anew before anybody is told of it. */
  isUnready(uuid: Uuid): boolean {
    return this.#unready.has(uuid)
  }

  /** All of those, in no order. */
  unready(): readonly Uuid[] {
    return [...this.#unready]
  }

  /** A file was packed anew: what is claimed of these images is looked at again. */
  remade(uuids: Iterable<Uuid>): void {
    for (const uuid of uuids) this.#put(uuid, this.claimsOf(uuid), this.#entries.get(uuid)?.held)
  }

  /** Every image we answer for, listed or not, and those we withhold, in no order. */
  *all(): Generator<Manifest> {
    for (const { winner, withheld } of this.#entries.values()) {
      const answer = winner ?? withheld?.reference
      if (answer) yield answer.manifest
    }
  }

  /** What anybody claims of any image, whether it stands or not, in no order. */
  *claimed(): Generator<Manifest> {
    for (const { claims } of this.#entries.values()) for (const { manifest } of claims) yield manifest
  }

  /** Whether anybody has an image of that uuid, withheld or not. */
  isKnown(uuid: Uuid): boolean {
    return this.find(uuid) !== undefined || this.#withheld.has(uuid)
  }

  /** Whether some image we answer for builds on this one. */
  isOrigin(uuid: Uuid): boolean {
    if (!this.#origins) {
      const origins = new Set<Uuid>()
      for (const { winner } of this.#entries.values()) if (winner?.manifest.origin) origins.add(winner.manifest.origin)
      this.#origins = origins
    }
    return this.#origins.has(uuid)
  }

  /** The images of the unfiltered list, in the order of publication. The same array until the revision changes. */
  listed(): readonly Manifest[] {
    if (!this.#listed) {
      const listed: Manifest[] = []
      const hidden = new Map<Uuid, boolean>()
      for (const entry of this.#entries.values()) {
        const manifest = this.#listedForm(entry)
        if (manifest && !this.#buildsOnHidden(manifest, hidden)) listed.push(manifest)
      }
      this.#listed = listed.sort(compareByPublication)
    }
    return this.#listed
  }

  /**
   * The listed images whose whole ancestry passes `isHeld`: what can be installed when no upstream can be reached.
   */
  listedAndComplete(isHeld: (manifest: Manifest) => boolean, maxAncestry: number): readonly Manifest[] {
    return this.listed().filter((manifest) => this.lacks(manifest, isHeld, maxAncestry).length === 0)
  }

  /** Which images of an ancestry, by uuid, are unknown or not held: all of them, if it is a ring or too long. */
  lacks(image: Manifest, isHeld: (manifest: Manifest) => boolean, maxAncestry: number): readonly Uuid[] {
    const { images, missing, broken } = ancestryOf(image, (uuid) => this.find(uuid), maxAncestry)
    const lacking = images.filter((each) => !isHeld(each)).map((each) => each.uuid)
    if (broken) return images.map((each) => each.uuid)
    return missing ? [...lacking, missing] : lacking
  }

  conflicts(): readonly Conflict[] {
    return [...this.#conflicts.values()]
  }

  /** Counts of everything, for operators. */
  count(): { listed: number; withheld: number } {
    return { listed: this.listed().length, withheld: this.#withheld.size }
  }

  /** Takes in what was heard: new claims, changed ones, withdrawn ones. */
  hear(claims: Iterable<Claim>): void {
    for (const claim of claims) {
      if (!this.#rank.has(claim.upstream)) continue
      const entry = this.#entries.get(claim.manifest.uuid)
      this.#put(claim.manifest.uuid, this.#withClaim(entry?.claims, claim), entry?.held)
    }
  }

  /**
   * Takes in an image that is held and verified.
   * @param measured its manifest with every digest that was measured of its files.
   */
  hold(image: HeldImage, measured: Manifest = image.manifest): void {
    const { uuid } = image.manifest
    this.#holdings++
    this.#put(uuid, this.claimsOf(uuid), { image, measured })
  }

  /** An image is not held any more: what is claimed of it counts alone. */
  letGo(uuid: Uuid): void {
    this.#holdings++
    this.#put(uuid, this.claimsOf(uuid), undefined)
  }

  /** A file turned out to be lost: which images are complete is to be looked up again. */
  loseFile(): void {
    this.#holdings++
  }

  #put(uuid: Uuid, claims: readonly Claim[], held: Held | undefined): void {
    this.#changes++
    const before = this.#entries.get(uuid)
    const ready = this.#readyOf(claims)
    const { winner, withheld } = chooseWinner(ready, held, this.#policies)
    const reference = winner ?? withheld?.reference
    const differences = ready.map(({ manifest }) => (reference ? differencesTo(reference.identity, manifest) : []))
    const placed = this.#placed(winner, ready, held, differences)
    const entry: Entry = { claims, ready, held, winner: placed, withheld }
    this.#entries.set(uuid, entry)
    this.#noteConflicts(uuid, ready, differences, winner ? winner.name : withheld && NOBODY)
    const hasMoved = before?.winner?.manifest.origin !== entry.winner?.manifest.origin
    if (hasMoved) this.#origins = undefined
    this.#noteWithheld(uuid, withheld !== undefined, hasMoved)
    this.#noteUnready(uuid, entry)
    const [listedBefore, listed] = [before && this.#listedForm(before), this.#listedForm(entry)]
    if (listedBefore === listed) return
    this.#listed = undefined
    // The same text heard anew is another object, and no change to whoever reads the list.
    const isSameText = listedBefore?.json === listed?.json
    if (!isSameText || !areSameChannels(listedBefore?.channels, listed?.channels)) this.#revision++
  }

  /** What builds on a withheld image leaves the list with it, and comes back with it. */
  #noteWithheld(uuid: Uuid, isWithheld: boolean, hasMoved: boolean): void {
    const isNews = this.#withheld.has(uuid) !== isWithheld
    if (isWithheld) this.#withheld.add(uuid)
    else this.#withheld.delete(uuid)
    if (!isNews && !(hasMoved && this.#withheld.size > 0)) return
    this.#listed = undefined
    this.#revision++
  }

  /**
   * Whether it builds on an image that is withheld, or not ready.
   * @param known what was found out before, by uuid; added to.
   */
  #buildsOnHidden({ uuid, origin }: Manifest, known: Map<Uuid, boolean>): boolean {
    if (this.#withheld.size + this.#unready.size === 0) return false
    const passed: Uuid[] = []
    let isBlocked = false
    for (let each = origin, below = uuid; each; ) {
      const answer = known.get(below)
      passed.push(below)
      if (answer !== undefined || this.#withheld.has(each) || this.#unready.has(each)) {
        isBlocked = answer ?? true
        break
      }
      // A ring is refused to whoever asks.
      if (passed.includes(each)) break
      below = each
      each = this.find(each)?.origin
    }
    for (const each of passed) known.set(each, isBlocked)
    return isBlocked
  }

  #findWithheldFiles(): Map<string, Uuid> {
    const files = new Map<string, Uuid>()
    const sha256sOf = ({ files: each }: Manifest) =>
      each.flatMap(({ digests }) => digests.flatMap(({ algorithm, hex }) => (algorithm === 'sha256' ? [hex] : [])))
    for (const uuid of this.#withheld) {
      const { claims, held } = this.#entries.get(uuid)!
      for (const { manifest } of claims) for (const sha256 of sha256sOf(manifest)) files.set(sha256, uuid)
      for (const { sha256 } of held?.image.files ?? []) files.set(sha256, uuid)
    }
    if (files.size === 0) return files
    for (const { winner, held } of this.#entries.values()) {
      if (!winner) continue
      for (const sha256 of sha256sOf(winner.manifest)) files.delete(sha256)
      for (const { sha256 } of held?.image.files ?? []) files.delete(sha256)
    }
    return files
  }

  /** The winner with the channels it is in. */
  #placed(
    winner: Winner | undefined,
    claims: readonly Claim[],
    held: Held | undefined,
    differences: readonly (readonly string[])[],
  ): Winner | undefined {
    if (!winner || !this.#channels.areUsed) return winner
    const publication = held?.image.publication
    if (publication) {
      return {
        ...winner,
        manifest: { ...winner.manifest, channels: this.#channels.ofOwn(publication.record.channels) },
      }
    }
    const agreeing = claims.filter((_, place) => differences[place]!.length === 0)
    const standing = agreeing.filter(stands)
    const [first, ...others] = (standing.length > 0 ? standing : agreeing).map((claim) =>
      this.#channels.filledBy(claim),
    )
    // Of 100,000 images nearly all are told of by one upstream, or by several that put them into the same channels.
    const isOneSet = others.every((channels) => channels === first)
    const channels = isOneSet ? (first ?? this.#channels.ofOrphans) : shareChannels([...first!, ...others.flat()])
    return { ...winner, manifest: { ...winner.manifest, channels } }
  }

  /** The same array, where nothing was to be packed anew. */
  #readyOf(claims: readonly Claim[]): readonly Claim[] {
    if (!claims.some((claim) => this.#needsRemaking(claim))) return claims
    return claims.flatMap((claim) => {
      if (!this.#needsRemaking(claim)) return [claim]
      const manifest = this.#remadeForm(claim)
      return manifest ? [{ ...claim, manifest, needsRecompression: true }] : []
    })
  }

  #needsRemaking({ manifest, needsRecompression }: Claim): boolean {
    if (needsRecompression || manifest.type !== 'docker') return needsRecompression ?? false
    const sha256 = firstSha256Of(manifest)
    return sha256 !== undefined && this.#options.isMislabelled?.(sha256) === true
  }

  #remadeForm({ manifest }: Claim): Manifest | undefined {
    const sha256 = firstSha256Of(manifest)
    const derivation = sha256 && this.#options.derivationOf?.(sha256)
    return derivation ? asRemade(manifest, { ...derivation, compression: 'gzip' }) : undefined
  }

  /** What builds on an image that is not ready comes into lists, and leaves them, with it. */
  #noteUnready(uuid: Uuid, { claims, winner, withheld }: Entry): void {
    const isUnready = !winner && !withheld && claims.some((claim) => this.#needsRemaking(claim) && stands(claim))
    if (isUnready === this.#unready.has(uuid)) return
    if (isUnready) this.#unready.add(uuid)
    else this.#unready.delete(uuid)
    this.#listed = undefined
    this.#revision++
  }

  #noteConflicts(
    uuid: Uuid,
    claims: readonly Claim[],
    allDifferences: readonly (readonly string[])[],
    winner: string | undefined,
  ): void {
    for (const [place, claim] of claims.entries()) {
      const key = `${uuid} ${claim.upstream}`
      const differences = allDifferences[place]!
      if (!winner || differences.length === 0) {
        const settled = this.#conflicts.get(key)
        this.#conflicts.delete(key)
        if (settled) this.#options.onSettled?.(settled)
        continue
      }
      const known = this.#conflicts.get(key)
      if (known && known.winner === winner && known.differences.join() === differences.join()) continue
      const conflict = {
        uuid,
        winner,
        loser: claim.upstream,
        differences,
        firstSeenMs: claim.firstHeardMs,
      }
      this.#conflicts.set(key, conflict)
      const outcome = winner === NOBODY ? 'it is withheld' : `${winner} stands`
      this.#options.log.warn(conflict, `claims about image ${uuid} disagree: ${outcome}`)
      this.#options.onConflict?.(conflict)
    }
  }

  /** What stands in the unfiltered list for this entry, if anything does. */
  #listedForm({ claims, held, winner }: Entry): Manifest | undefined {
    const manifest = winner?.manifest
    if (manifest?.channels?.length === 0) return undefined
    if (claims.some((claim) => stands(claim) && claim.isListed) || isOurs(held)) return manifest
    return held && (this.#options.withdrawn === 'list' || claims.some(stands)) ? manifest : undefined
  }

  /** `claims`, with this one in the place of what its upstream claimed before. */
  #withClaim(claims: readonly Claim[] | undefined, claim: Claim): readonly Claim[] {
    if (!claims) return [claim]
    const others = claims.filter((other) => other.upstream !== claim.upstream)
    return this.#inOrder([...others, claim])
  }

  /** Without those of upstreams that are configured no more. */
  #inOrder(claims: readonly Claim[]): readonly Claim[] {
    const rank = this.#rank
    return claims
      .filter(({ upstream }) => rank.has(upstream))
      .sort((a, b) => rank.get(a.upstream)! - rank.get(b.upstream)!)
  }
}

/** Looked at again between two turns of the event loop: some milliseconds. */
const IMAGES_A_TURN = 2_000

function rankOf(precedence: readonly string[]): ReadonlyMap<string, number> {
  return new Map(precedence.map((name, index) => [name, index]))
}

/** Stands in the place of a winner where all are withheld. */
const NOBODY = 'nobody'

const NONE: readonly string[] = []

function differencesTo(identity: Manifest, manifest: Manifest): readonly string[] {
  return identity === manifest ? NONE : identityDifferences(identity, manifest)
}

/** Equal sets are mostly the same array. */
function areSameChannels(one: readonly string[] | undefined, other: readonly string[] | undefined): boolean {
  return one === other || one?.join() === other?.join()
}

function firstSha256Of({ files }: Manifest): string | undefined {
  return files[0]?.digests.find(({ algorithm }) => algorithm === 'sha256')?.hex
}

function standingFirst(claims: readonly Claim[]): readonly Claim[] {
  return [...claims.filter(stands), ...claims.filter((claim) => !stands(claim))]
}
