import { setImmediate as nextTurn } from 'node:timers/promises'
import { isMirrorError } from '../errors.js'
import type { Claim, Statement } from '../images/claim.js'
import { differencesOfFiles, identityDifferences } from '../images/identity.js'
import type { Uuid } from '../images/uuid.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { ClaimStore, Hearing } from '../store/claim-store.js'
import type { Listing } from '../upstream/upstream.js'
import type { Catalogue } from './catalogue.js'
import { declaredFiles, type RecordHappening } from './ledger.js'

export interface HeardOptions {
  readonly catalogue: Catalogue
  readonly claims: ClaimStore
  readonly record: RecordHappening
  readonly log: Log
}

/** What a catalogue says that the one before it did not, in images. */
export interface ListingNews {
  /** New ones included. */
  readonly changed: number
  readonly added: number
  readonly withdrawn: number
}

/** Claims taken in between two turns of the event loop: some milliseconds, so that a catalogue of 100,000 holds nobody up. */
const CLAIMS_A_TURN = 2_000

/**
 * Turns what upstreams say into claims: written down first, then in the catalogue. One after the other, because each
 * is compared with what is known: a list and an answer that came at the same time must not undo each other.
 */
export class Heard {
  readonly #options: HeardOptions
  readonly #writing = new OneAtATime()
  /** Per upstream: when its whole catalogue was heard last. */
  readonly #listings = new Map<string, { readonly heardMs: number; readonly validator: string | undefined }>()

  constructor(options: HeardOptions) {
    this.#options = options
  }

  /**
   * Brings back when catalogues were heard in earlier runs. Not their validators: the configuration may let other
   * images through by now, and a 304 would hide those.
   */
  remember(listings: ReadonlyMap<string, { readonly heardMs: number }>): void {
    for (const [upstream, { heardMs }] of listings) this.#listings.set(upstream, { heardMs, validator: undefined })
  }

  /** What this upstream told last may be looked at otherwise now: the next time, it is asked for all of it. */
  forgetValidator(upstream: string): void {
    const listing = this.#listings.get(upstream)
    if (listing) this.#listings.set(upstream, { heardMs: listing.heardMs, validator: undefined })
  }

  lastListing(upstream: string): { readonly heardMs: number; readonly validator: string | undefined } | undefined {
    return this.#listings.get(upstream)
  }

  /** Whether any upstream has ever told its catalogue. */
  get hasListings(): boolean {
    return this.#listings.size > 0
  }

  /** An upstream told its whole catalogue. Answers how many claims are new or changed, how many of them new, and how many withdrawn. */
  listing(upstream: string, listing: Listing): Promise<ListingNews> {
    return this.#writing.run(() => this.#listing(upstream, listing))
  }

  /** An upstream says that nothing has changed since its last listing. */
  unchanged(upstream: string): Promise<void> {
    return this.#writing.run(() => this.#unchanged(upstream))
  }

  /** An upstream was asked for one image and has it. */
  answer(upstream: string, statement: Statement): Promise<void> {
    return this.#writing.run(() => this.#answer(upstream, statement))
  }

  /** An upstream was asked for one image, and says that it has none. */
  denial(upstream: string, uuid: Uuid): Promise<void> {
    return this.#writing.run(() => this.#denial(upstream, uuid))
  }

  /** Resolves when everything heard so far is written down. */
  idle(): Promise<void> {
    return this.#writing.idle()
  }

  async #listing(upstream: string, listing: Listing): Promise<ListingNews> {
    const { catalogue, log } = this.#options
    const heardMs = Date.now()
    const changed: Claim[] = []
    let added = 0
    const missing = new Map<Uuid, Claim>()
    for (const claim of catalogue.listedBy(upstream)) missing.set(claim.manifest.uuid, claim)
    for (const [place, statement] of listing.statements.entries()) {
      if (place % CLAIMS_A_TURN === 0) await nextTurn()
      const { uuid } = statement.manifest
      missing.delete(uuid)
      const known = catalogue.claimOf(upstream, uuid)
      if (known?.isListed && known.withdrawnMs === undefined && isSame(known, statement)) continue
      if (!known?.isListed || known.withdrawnMs !== undefined) added++
      if (known && differencesOfFiles(known.manifest, statement.manifest).length > 0) {
        log.warn({ upstream, uuid }, `upstream ${upstream} now claims another file for image ${uuid} than before`)
      }
      const claim = claimFrom(upstream, statement, known, heardMs, true)
      this.#record(claim, known)
      changed.push(claim)
    }
    // A list that could not be followed to its end says nothing about what is not in it.
    const withdrawn = listing.incomplete
      ? []
      : [...missing.values()].map((claim) => ({ ...claim, withdrawnMs: heardMs }))
    for (const claim of withdrawn) this.#options.record('withdrawn', claim.manifest.uuid, { upstream })
    const { validator } = listing
    await this.#write({ upstream, heardMs, changed, withdrawn: uuidsOf(withdrawn), listing: { validator } })
    // What is new comes first: whoever looks in between misses nothing that was replaced.
    await this.#tellCatalogue([...changed, ...withdrawn])
    this.#listings.set(upstream, { heardMs, validator })
    return { changed: changed.length, added, withdrawn: withdrawn.length }
  }

  async #tellCatalogue(claims: readonly Claim[]): Promise<void> {
    for (let start = 0; start < claims.length; start += CLAIMS_A_TURN) {
      await nextTurn()
      this.#options.catalogue.hear(claims.slice(start, start + CLAIMS_A_TURN))
    }
  }

  async #unchanged(upstream: string): Promise<void> {
    const validator = this.#listings.get(upstream)?.validator
    const heardMs = Date.now()
    await this.#write({ upstream, heardMs, changed: [], withdrawn: [], listing: { validator } })
    this.#listings.set(upstream, { heardMs, validator })
  }

  async #answer(upstream: string, statement: Statement): Promise<void> {
    const known = this.#options.catalogue.claimOf(upstream, statement.manifest.uuid)
    const isListed = known?.isListed === true && known.withdrawnMs === undefined
    const heardMs = Date.now()
    const claim = claimFrom(upstream, statement, known, heardMs, isListed)
    // What nobody lists is asked for again and again, and mostly says the same.
    if (!known || known.withdrawnMs !== undefined || !isSame(known, statement)) this.#record(claim, known)
    await this.#write({ upstream, heardMs, changed: [claim], withdrawn: [], listing: undefined })
    this.#options.catalogue.hear([claim])
  }

  async #denial(upstream: string, uuid: Uuid): Promise<void> {
    const known = this.#options.catalogue.claimOf(upstream, uuid)
    if (!known || known.withdrawnMs !== undefined) return
    const heardMs = Date.now()
    this.#options.record('withdrawn', uuid, { upstream })
    await this.#write({ upstream, heardMs, changed: [], withdrawn: [uuid], listing: undefined })
    this.#options.catalogue.hear([{ ...known, withdrawnMs: heardMs }])
  }

  #record({ isListed, manifest, upstream }: Claim, known: Claim | undefined): void {
    const { name, uuid, version } = manifest
    const facts = { upstream, name, version, files: declaredFiles(manifest) }
    if (!known || known.withdrawnMs !== undefined) this.#options.record('claimed', uuid, { ...facts, isListed })
    else {
      const isOther = differencesOfFiles(known.manifest, manifest).length > 0
      const before = isOther ? declaredFiles(known.manifest) : undefined
      this.#options.record('claim-changed', uuid, { ...facts, ...(before && { before }) })
    }
  }

  /** What cannot be written down is still true: a full disk must not make the mirror blind. */
  async #write(hearing: Hearing): Promise<void> {
    try {
      await this.#options.claims.record(hearing)
    } catch (error) {
      if (!isMirrorError(error, 'STORE_FULL', 'STORE_BROKEN')) throw error
      const facts = { upstream: hearing.upstream, err: error }
      this.#options.log.error(facts, `what upstream ${hearing.upstream} claims could not be written down`)
    }
  }
}

function claimFrom(
  upstream: string,
  statement: Statement,
  known: Claim | undefined,
  heardMs: number,
  isListed: boolean,
): Claim {
  const isOldNews = known !== undefined && identityDifferences(known.manifest, statement.manifest).length === 0
  return {
    upstream,
    manifest: statement.manifest,
    whereabouts: statement.whereabouts,
    isListed,
    // First heard of this image: a changed sha1, size or origin is a new claim.
    firstHeardMs: isOldNews ? known.firstHeardMs : heardMs,
    lastHeardMs: heardMs,
    withdrawnMs: undefined,
    ...(statement.channels && { channels: statement.channels }),
    ...(statement.needsRecompression && { needsRecompression: true }),
    ...(statement.unpackedSha256 !== undefined && { unpackedSha256: statement.unpackedSha256 }),
  }
}

function isSame(claim: Claim, statement: Statement): boolean {
  return (
    claim.manifest.json === statement.manifest.json &&
    isSameFile(claim, statement) &&
    claim.needsRecompression === statement.needsRecompression &&
    claim.unpackedSha256 === statement.unpackedSha256 &&
    claim.channels?.join() === statement.channels?.join() &&
    claim.whereabouts.join('\n') === statement.whereabouts.join('\n')
  )
}

/** Whether sizes and digests agree; these come in the same order in all manifests. */
function isSameFile({ manifest: { files } }: Statement, { manifest: { files: others } }: Statement): boolean {
  return (
    files.length === others.length &&
    files.every(({ sizeBytes, digests }, index) => {
      const other = others[index]!
      return (
        sizeBytes === other.sizeBytes &&
        digests.length === other.digests.length &&
        digests.every(({ algorithm, hex }, place) => {
          const counterpart = other.digests[place]!
          return algorithm === counterpart.algorithm && hex === counterpart.hex
        })
      )
    })
  )
}

function uuidsOf(claims: readonly Claim[]): Uuid[] {
  return claims.map((claim) => claim.manifest.uuid)
}
