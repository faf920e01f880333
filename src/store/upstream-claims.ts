import { dirname } from 'node:path'
import { hasCode } from '../errors.js'
import type { Claim } from '../images/claim.js'
import type { Uuid } from '../images/uuid.js'
import type { Log } from '../parts/log.js'
import { type ClaimLine, type ClaimLineReader, writeClaimLine } from './claim-lines.js'
import type { Hearing } from './claim-store.js'
import { writeEvidence } from './evidence.js'
import type { FileSystem, OpenedFile } from './file-system.js'
import { type Line, readLines } from './read-lines.js'
import { isSealed } from './sealed-json.js'
import { writeFully, writeWhole } from './whole-files.js'

/** A manifest is at most 1 MiB, and a line holds one. */
const LINE_LIMIT_BYTES = 8 * 1024 * 1024
const BLOCK_BYTES = 1024 * 1024
const WITHDRAWN_PER_LINE = 1000
/** Of damaged lines, so much is kept as evidence. */
const EVIDENCE_LINES = 20
const EVIDENCE_BYTES = 4096
/** Outdated lines that are never worth a rewrite. */
const OUTDATED_ALLOWED_BYTES = 1024 * 1024

export interface UpstreamClaimsOptions {
  readonly upstream: string
  readonly path: string
  /** The data directory, for what is set aside. */
  readonly root: string
  readonly partial: string
  readonly fileSystem: FileSystem
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
  /** Shares its claims with the mirror's catalogue: this map is what the file costs in memory. */
  readonly #claims = new Map<Uuid, { readonly claim: Claim; readonly lineBytes: number }>()
  #listing: { readonly heardMs: number; readonly validator: string | undefined } | undefined
  /** Up to where the file is known to be good; behind it stands at most what a failed write has left. */
  #goodBytes = 0
  #currentBytes = 0
  #exists = false

  constructor(options: UpstreamClaimsOptions) {
    this.#options = options
  }

  /** When its whole catalogue was heard last, and the validator to ask it with. */
  get listing(): { readonly heardMs: number; readonly validator: string | undefined } | undefined {
    return this.#listing
  }

  /** Every claim as it stands, heard last when the last listing confirmed it. */
  *current(): Generator<Claim> {
    for (const { claim } of this.#claims.values()) yield this.#heardLast(claim)
  }

  /** Reads the file back, and cuts off a torn end. Answers how many lines could not be read, that one included. */
  async load(reader: ClaimLineReader): Promise<number> {
    const { fileSystem, path, upstream } = this.#options
    const file = await fileSystem.open(path, 'write')
    let damagedLines = 0
    try {
      for await (const { bytes, endBytes } of readLines(file, LINE_LIMIT_BYTES)) {
        const line = bytes && reader.read(bytes, upstream)
        if (line) this.#apply(line, endBytes - this.#goodBytes)
        else damagedLines++
        this.#goodBytes = endBytes
      }
      if ((await file.sizeBytes()) > this.#goodBytes) {
        damagedLines++
        await file.truncate(this.#goodBytes)
        await file.sync()
      }
    } finally {
      await file.close()
    }
    this.#exists = true
    return damagedLines
  }

  /** Durable when it resolves. After a failure nothing of it counts. */
  async record(hearing: Hearing): Promise<void> {
    const lines = linesOf(hearing)
    const writtenBytes = await this.#append(lines)
    for (const [index, line] of lines.entries()) this.#apply(line, writtenBytes[index]!)
    if (this.#goodBytes > 2 * this.#currentBytes + OUTDATED_ALLOWED_BYTES) await this.#compact()
  }

  /**
   * Reads the file again. What it says is known, so a damaged one is written anew, with some of the damaged lines kept as
   * evidence. Answers `undefined` when it is as we wrote it.
   */
  async audit(): Promise<{ path: string; complaint: string; isMended: boolean } | undefined> {
    const { path } = this.#options
    if (!this.#exists) return undefined
    const { damaged, goodBytes } = await this.#readDamage()
    if (damaged.length === 0 && goodBytes >= this.#goodBytes) return undefined
    const complaint = `${damaged.length} lines are damaged, and ${Math.max(0, this.#goodBytes - goodBytes)} bytes missing`
    const lines = damaged.slice(0, EVIDENCE_LINES).map((line) => line.toString('base64'))
    await writeEvidence(this.#options, path, { complaint, lines })
    return { path, complaint, isMended: await this.#compact() }
  }

  /** The damaged lines before `#goodBytes`, each cut to a bearable length, and up to where there are whole lines. */
  async #readDamage(): Promise<{ damaged: Buffer[]; goodBytes: number }> {
    const { fileSystem, path } = this.#options
    const damaged: Buffer[] = []
    let goodBytes = 0
    let file: OpenedFile
    try {
      file = await fileSystem.open(path, 'read')
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return { damaged, goodBytes }
      throw cause
    }
    try {
      for await (const line of readLines(file, LINE_LIMIT_BYTES)) {
        if (line.endBytes > this.#goodBytes) break
        if (!isReadable(line)) damaged.push(Buffer.from(line.bytes?.subarray(0, EVIDENCE_BYTES) ?? ''))
        goodBytes = line.endBytes
      }
    } finally {
      await file.close()
    }
    return { damaged, goodBytes }
  }

  /** Answers the length of each line. */
  async #append(lines: readonly ClaimLine[]): Promise<number[]> {
    const file = await this.#open()
    const lengths: number[] = []
    try {
      const sizeBytes = await file.sizeBytes()
      if (sizeBytes < this.#goodBytes) throw new Error(`${this.#options.path} is shorter than what we wrote into it`)
      // An earlier failure may have left something behind the good part.
      if (sizeBytes > this.#goodBytes) await file.truncate(this.#goodBytes)
      let endBytes = this.#goodBytes
      try {
        for (const block of blocksOf(lines, lengths)) {
          await writeFully(file, block, endBytes)
          endBytes += block.length
        }
        await file.sync()
      } catch (cause) {
        // On a full disk this gives the room back; where not even that works, it is done before the next write.
        await file.truncate(this.#goodBytes).catch(() => {})
        throw cause
      }
      this.#goodBytes = endBytes
    } finally {
      await file.close()
    }
    return lengths
  }

  async #open(): Promise<OpenedFile> {
    const { fileSystem, path } = this.#options
    if (this.#exists) return await fileSystem.open(path, 'write')
    const file = await this.#create()
    try {
      await fileSystem.syncDirectory(dirname(path))
    } catch (cause) {
      await file.close()
      throw cause
    }
    this.#exists = true
    return file
  }

  async #create(): Promise<OpenedFile> {
    const { fileSystem, path } = this.#options
    try {
      return await fileSystem.open(path, 'create')
    } catch (cause) {
      // Made by an attempt that failed after it.
      if (hasCode(cause, 'EEXIST')) return await fileSystem.open(path, 'write')
      throw cause
    }
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
    const { fileSystem, path, partial, upstream, log } = this.#options
    const lines: ClaimLine[] = []
    for (const claim of this.current()) lines.push({ kind: 'claim', claim })
    if (this.#listing) lines.push({ kind: 'listing', ...this.#listing })
    const lengths: number[] = []
    const sizeBytes = () => lengths.reduce((sum, length) => sum + length, 0)
    try {
      await writeWhole(fileSystem, path, blocksOf(lines, lengths), partial)
    } catch (error) {
      log.warn({ upstream, err: error }, 'its claims could not be rewritten without what is outdated')
      // Only the last step, the sync of the directory, fails with the new file in place; it is less than half the old.
      const facts = await fileSystem.describe(path).catch(() => undefined)
      if (facts?.sizeBytes !== sizeBytes()) return false
    }
    this.#goodBytes = sizeBytes()
    this.#claims.clear()
    this.#currentBytes = 0
    for (const [index, line] of lines.entries()) this.#apply(line, lengths[index]!)
    return true
  }
}

function isReadable({ bytes }: Line): boolean {
  return bytes !== undefined && isSealed(bytes)
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

/** The lines as bytes, about BLOCK_BYTES at a time: a first catalogue is 150 MB. Fills in the length of each. */
function* blocksOf(lines: readonly ClaimLine[], lengths: number[]): Generator<Buffer> {
  let block: Buffer[] = []
  let blockBytes = 0
  for (const line of lines) {
    const bytes = Buffer.from(`${writeClaimLine(line)}\n`)
    lengths.push(bytes.length)
    block.push(bytes)
    blockBytes += bytes.length
    if (blockBytes < BLOCK_BYTES) continue
    yield Buffer.concat(block)
    block = []
    blockBytes = 0
  }
  if (blockBytes > 0) yield Buffer.concat(block)
}
