import type { Claim } from '../images/claim.js'
import type { Uuid } from '../images/uuid.js'
import type { Log } from '../parts/log.js'
import { type ClaimLine, type ClaimLineReader, writeClaimLine } from './claim-lines.js'
import type { Hearing } from './claim-store.js'
import type { Places } from './evidence.js'
import { complaintAbout, LineFile } from './line-file.js'

/** A manifest is at most 1 MiB, and a line holds one. */
const LINE_LIMIT_BYTES = 8 * 1024 * 1024
const WITHDRAWN_PER_LINE = 1000
/** Outdated lines that are never worth a rewrite. */
const OUTDATED_ALLOWED_BYTES = 1024 * 1024

export interface UpstreamClaimsOptions extends Places {
  readonly upstream: string
  readonly path: string
  readonly log: Log
}

/**
 * The file of one upstream's claims. Lines are only ever added, in the order things were heard, and mean what they say
 * when read in that order. So a hearing that a crash cut short is a shorter hearing: its lines are true one by one, and the one that says
 * "that was all of it" comes last.
 *
 * One call at a time.
 */
export class UpstreamClaims {
  readonly #options: UpstreamClaimsOptions
  readonly #file: LineFile
  /** Shares its claims with the mirror's catalogue: this map is what the file costs in memory. */
  readonly #claims = new Map<Uuid, { readonly claim: Claim; readonly lineBytes: number }>()
  #listing: { readonly heardMs: number; readonly validator: string | undefined } | undefined
  /** What the lines that count take. */
  #currentBytes = 0

  constructor(options: UpstreamClaimsOptions) {
    this.#options = options
    this.#file = new LineFile({ ...options, lineLimitBytes: LINE_LIMIT_BYTES })
  }

  /** When its whole catalogue was heard last, and the validator to ask it with. */
  get listing(): { readonly heardMs: number; readonly validator: string | undefined } | undefined {
    return this.#listing
  }

  /** Every claim as it stands, heard last when the last listing confirmed it. */
  *current(): Generator<Claim> {
    for (const { claim } of this.#claims.values()) yield this.#heardLast(claim)
  }

  /** Reads the file back, if there is one, and cuts off a torn end. Answers how many lines could not be read, that one included. */
  async load(reader: ClaimLineReader): Promise<number> {
    const { cutOffBytes, damagedLines } = await this.#file.load((...line) => this.#take(reader, ...line))
    return damagedLines + (cutOffBytes > 0 ? 1 : 0)
  }

  /** As `load`, for whoever only reads: a torn end stays, and nothing can be recorded afterwards. */
  async look(reader: ClaimLineReader): Promise<void> {
    await this.#file.look((...line) => this.#take(reader, ...line))
  }

  /** Answers false for a line that cannot be read. */
  #take(reader: ClaimLineReader, bytes: Buffer | undefined, lengthBytes: number): boolean {
    const line = bytes && reader.read(bytes, this.#options.upstream)
    if (line) this.#apply(line, lengthBytes)
    return line !== undefined
  }

  /** Durable when it resolves. After a failure nothing of it counts. */
  async record(hearing: Hearing): Promise<void> {
    const lines = linesOf(hearing)
    const lengths: number[] = []
    await this.#file.append(bytesOf(lines, lengths))
    for (const [index, line] of lines.entries()) this.#apply(line, lengths[index]!)
    if (this.#file.sizeBytes > 2 * this.#currentBytes + OUTDATED_ALLOWED_BYTES) await this.#compact()
  }

  /**
   * Reads the file again. What it says is known, so a damaged one is written anew, with some of the damaged lines kept as
   * evidence. Answers `undefined` when it is as we wrote it.
   */
  async audit(): Promise<{ path: string; complaint: string; isMended: boolean } | undefined> {
    const damage = await this.#file.findDamage()
    if (!damage) return undefined
    const complaint = complaintAbout(damage)
    await this.#file.keepEvidence(complaint, damage.samples)
    return { path: this.#options.path, complaint, isMended: await this.#compact() }
  }

  #apply(line: ClaimLine, lineBytes: number): void {
    if (line.kind === 'claim') {
      this.#set(line.claim, lineBytes)
      return
    }
    if (line.kind === 'listing') {
      this.#listing = { heardMs: line.heardMs, validator: line.validator }
      return
    }
    for (const uuid of line.uuids) {
      const known = this.#claims.get(uuid)
      if (!known || known.claim.withdrawnMs !== undefined) continue
      // From here on listings no longer confirm it: what they have confirmed so far is written into the claim.
      this.#set({ ...this.#heardLast(known.claim), withdrawnMs: line.heardMs }, known.lineBytes)
    }
  }

  #set(claim: Claim, lineBytes: number): void {
    this.#currentBytes += lineBytes - (this.#claims.get(claim.manifest.uuid)?.lineBytes ?? 0)
    this.#claims.set(claim.manifest.uuid, { claim, lineBytes })
  }

  #heardLast(claim: Claim): Claim {
    const listedMs = this.#listing?.heardMs
    if (listedMs === undefined || !claim.isListed || claim.withdrawnMs !== undefined) return claim
    return listedMs > claim.lastHeardMs ? { ...claim, lastHeardMs: listedMs } : claim
  }

  /** Writes the file anew with what counts. The old one serves as well: failing here harms nobody. Answers whether it did. */
  async #compact(): Promise<boolean> {
    const { upstream, log } = this.#options
    const lines: ClaimLine[] = []
    for (const claim of this.current()) lines.push({ kind: 'claim', claim })
    if (this.#listing) lines.push({ kind: 'listing', ...this.#listing })
    const lengths: number[] = []
    const isInPlace = await this.#file.replace(bytesOf(lines, lengths), (error) =>
      log.warn({ upstream, err: error }, 'its claims could not be written anew'),
    )
    if (!isInPlace) return false
    this.#claims.clear()
    this.#currentBytes = 0
    for (const [index, line] of lines.entries()) this.#apply(line, lengths[index]!)
    return true
  }
}

/** A hearing in the order in which it must be read: a listing confirms what was not withdrawn before it. */
function linesOf({ heardMs, changed, withdrawn, listing }: Hearing): ClaimLine[] {
  const lines: ClaimLine[] = changed.map((claim) => ({ kind: 'claim', claim }))
  for (let start = 0; start < withdrawn.length; start += WITHDRAWN_PER_LINE) {
    lines.push({ kind: 'withdrawn', uuids: withdrawn.slice(start, start + WITHDRAWN_PER_LINE), heardMs })
  }
  if (listing) lines.push({ kind: 'listing', heardMs, validator: listing.validator })
  return lines
}

/** As they stand in the file. Fills in the length of each. */
function* bytesOf(lines: readonly ClaimLine[], lengths: number[]): Generator<Buffer> {
  for (const line of lines) {
    const bytes = Buffer.from(`${writeClaimLine(line)}\n`)
    lengths.push(bytes.length)
    yield bytes
  }
}
