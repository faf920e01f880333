import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { hasCode } from '../errors.js'
import { formatHead, parseHead } from '../parts/ledger-head.js'
import { isMinisigned, type MinisignKey, minisignKeyName, parseMinisignKey } from '../parts/minisign.js'
import type { FileSystem, OpenedFile } from './file-system.js'
import { hashOfLine, LINE_LIMIT_BYTES, NO_HASH, parseLedgerLine, placeOfLine } from './ledger-line.js'
import type { LedgerCheck, LedgerEntry, LedgerFault, LedgerReader, SignedHead } from './ledger-store.js'
import { isSealed } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { readFully, readWhole } from './whole-files.js'

const SEGMENT = /^\d{6}\.jsonl$/
const BLOCK_BYTES = 1024 * 1024
const SMALL_FILE_BYTES = 64 * 1024
/** So many faults are told one by one; a ledger in which more is wrong is not mended by knowing where. */
const FAULTS_LIMIT = 100
const NEWLINE = 0x0a
const HEAD_KIND = Buffer.from('"kind":"head"')

/** Whole lines of one segment, in order. */
interface Lines {
  readonly segment: string
  /** The place of the first of them in its segment, from 1. */
  readonly firstLine: number
  /** Without their newlines; valid until the next are asked for. One that is too long is there only as far as it may be. */
  readonly lines: readonly Buffer[]
  /** Behind the last newline, when this is the end of the segment. */
  readonly unfinishedBytes: number
}

interface SegmentEnd {
  readonly last: Buffer | undefined
  readonly lines: number
  readonly damaged: number
  readonly endBytes: number
  readonly sizeBytes: number
}

/** The files of the ledger, read as they stand. Needs no lock: they only grow. */
export class LedgerFiles implements LedgerReader {
  readonly #root: string
  readonly #directory: string
  readonly #fileSystem: FileSystem

  constructor({ root, fileSystem }: { readonly root: string; readonly fileSystem: FileSystem }) {
    this.#root = root
    this.#directory = join(root, 'ledger')
    this.#fileSystem = fileSystem
  }

  async isEmpty(): Promise<boolean> {
    try {
      for (const segment of await this.segments()) {
        if ((await this.endOf(segment)).sizeBytes > 0) return false
      }
      return true
    } catch (cause) {
      throw storeFailure('cannot read the ledger', cause)
    }
  }

  async *entries(signal?: AbortSignal): AsyncGenerator<readonly LedgerEntry[]> {
    try {
      for (const segment of await this.segments()) {
        for await (const { lines } of this.#linesOf(segment)) {
          signal?.throwIfAborted()
          for (let start = 0; start < lines.length; start += 500) {
            yield lines.slice(start, start + 500).flatMap((line) => parseLedgerLine(line) ?? [])
            await nextTurn()
          }
        }
      }
    } catch (cause) {
      signal?.throwIfAborted()
      throw storeFailure('cannot read the ledger', cause)
    }
  }

  async newest(image: string | undefined, limit: number): Promise<readonly LedgerEntry[]> {
    const wanted = image === undefined ? undefined : Buffer.from(JSON.stringify(image))
    let found: LedgerEntry[] = []
    try {
      for (const segment of (await this.segments()).reverse()) {
        const here: Buffer[] = []
        for await (const { lines } of this.#linesOf(segment)) {
          const matching = wanted ? lines.filter((line) => line.includes(wanted)) : lines.slice(-limit)
          here.push(...matching.map((line) => Buffer.from(line)))
          if (here.length > 2 * limit) here.splice(0, here.length - limit)
        }
        const entries = here.flatMap((line) => parseLedgerLine(line) ?? [])
        const about = image === undefined ? entries : entries.filter((entry) => isAbout(entry, image))
        found = [...about, ...found].slice(-limit)
        if (found.length >= limit) break
      }
      return found
    } catch (cause) {
      throw storeFailure('cannot read the ledger', cause)
    }
  }

  async check(options: { hashesOf?: readonly number[]; signal?: AbortSignal | undefined } = {}): Promise<LedgerCheck> {
    const { hashesOf = [], signal } = options
    try {
      const publicKey = await this.publicKey()
      const walk = new ChainWalk(publicKey === undefined ? undefined : parseMinisignKey(publicKey), new Set(hashesOf))
      const segments = await this.segments()
      for (const [place, segment] of segments.entries()) {
        const expected = `${String(place + 1).padStart(6, '0')}.jsonl`
        if (segment !== expected && place === 0) walk.missesSegment(segment, expected)
        for await (const block of this.#linesOf(segment)) {
          signal?.throwIfAborted()
          // A block is some thousand lines, and each is hashed: others get a turn in between.
          for (let start = 0; start < block.lines.length; start += 1000) {
            for (const [index, line] of block.lines.slice(start, start + 1000).entries()) {
              walk.take(line, `ledger/${segment}`, block.firstLine + start + index)
            }
            await nextTurn()
          }
          walk.endOf(`ledger/${segment}`, block, place === segments.length - 1)
        }
      }
      return { ...walk.result(), segments: segments.length }
    } catch (cause) {
      signal?.throwIfAborted()
      throw storeFailure('cannot read the ledger', cause)
    }
  }

  async signedHead(): Promise<SignedHead | undefined> {
    try {
      const read = async (name: string) =>
        (await readWhole(this.#fileSystem, join(this.#directory, name), SMALL_FILE_BYTES))?.toString('utf8')
      const [text, signature] = [await read('head'), await read('head.minisig')]
      return text === undefined || signature === undefined ? undefined : signedHeadOf(text, signature)
    } catch (cause) {
      throw storeFailure('cannot read the head of the ledger', cause)
    }
  }

  async publicKey(): Promise<string | undefined> {
    const path = join(this.#root, 'keys', 'mirror.pub')
    return (await readWhole(this.#fileSystem, path, SMALL_FILE_BYTES))?.toString('utf8')
  }

  /** Their names, in order. */
  async segments(): Promise<string[]> {
    try {
      return (await this.#fileSystem.list(this.#directory)).filter((name) => SEGMENT.test(name)).sort()
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return []
      throw cause
    }
  }

  /** The last whole line of a segment, where its lines end, how many there are, and how many of them are not as we seal them. */
  async endOf(segment: string): Promise<SegmentEnd> {
    let [last, count, endBytes, sizeBytes]: [Buffer | undefined, number, number, number] = [undefined, 0, 0, 0]
    let damaged = 0
    for await (const { lines, unfinishedBytes } of this.#linesOf(segment)) {
      const newest = lines.at(-1)
      if (newest) last = Buffer.from(newest)
      count += lines.length
      for (const line of lines) {
        endBytes += line.length + 1
        if (!isSealed(line)) damaged++
      }
      sizeBytes = endBytes + unfinishedBytes
    }
    return { last, lines: count, damaged, endBytes, sizeBytes }
  }

  /** The last bytes of a file that are no whole line, at most so many. */
  async *#linesOf(segment: string): AsyncGenerator<Lines> {
    let file: OpenedFile
    try {
      file = await this.#fileSystem.open(join(this.#directory, segment), 'read')
    } catch (cause) {
      // Somebody took it away while we read: its entries are missing, and that is found.
      if (hasCode(cause, 'ENOENT')) return
      throw cause
    }
    try {
      let block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      let begunBytes = 0
      let firstLine = 1
      for (let positionBytes = 0; ; ) {
        // A line longer than a block is none of ours; it is read all the same, so that it can be named.
        if (begunBytes === block.length) block = Buffer.concat([block], block.length * 2)
        const wantedBytes = block.length - begunBytes
        const readBytes = await readFully(file, block.subarray(begunBytes), positionBytes)
        positionBytes += readBytes
        const filledBytes = begunBytes + readBytes
        const isEnd = readBytes < wantedBytes
        const lines: Buffer[] = []
        let start = 0
        for (let end = block.indexOf(NEWLINE); end >= 0 && end < filledBytes; end = block.indexOf(NEWLINE, start)) {
          lines.push(block.subarray(start, end))
          start = end + 1
        }
        begunBytes = filledBytes - start
        yield { segment, firstLine, lines, unfinishedBytes: isEnd ? begunBytes : 0 }
        if (isEnd) return
        firstLine += lines.length
        if (begunBytes > 0 && start > 0) block.copy(block, 0, start, filledBytes)
        // Of what is endless only so much is looked at.
        if (begunBytes > LONGEST_LINE_BYTES) begunBytes = LONGEST_LINE_BYTES
      }
    } finally {
      await file.close()
    }
  }
}

/** Lines beyond this are cut where they are read: nothing of ours is a hundredth of it. */
const LONGEST_LINE_BYTES = 4 * 1024 * 1024

/** Follows the chain from its first line to its last. */
class ChainWalk {
  readonly #key: MinisignKey | undefined
  readonly #hashesOf: ReadonlySet<number>
  readonly #hashes = new Map<number, string>()
  readonly #faults: LedgerFault[] = []
  #faultsFound = 0
  #entries = 0
  #sizeBytes = 0
  #seq = 0
  #hash = NO_HASH
  #isLastGood = true
  #firstAtMs: number | undefined
  #last: Buffer | undefined
  #goodHeads = 0
  #lastHead: SignedHead | undefined
  #unfinishedBytes = 0

  constructor(key: MinisignKey | undefined, hashesOf: ReadonlySet<number>) {
    this.#key = key
    this.#hashesOf = hashesOf
  }

  missesSegment(segment: string, expected: string): void {
    this.#fault(`ledger/${segment}`, 1, 1, `the ledger begins with ledger/${segment}: ledger/${expected} is missing`)
  }

  take(line: Buffer, segment: string, lineNumber: number): void {
    this.#entries++
    this.#sizeBytes += line.length + 1
    const place = line.length < LINE_LIMIT_BYTES ? placeOfLine(line) : undefined
    const seq = place?.seq ?? this.#seq + 1
    const isGood = place !== undefined && isSealed(line)
    if (!isGood) this.#fault(segment, lineNumber, this.#seq + 1, `entry ${this.#seq + 1} is damaged`)
    else this.#compare(place, segment, lineNumber)
    this.#seq = isGood ? seq : this.#seq + 1
    this.#hash = hashOfLine(line)
    this.#isLastGood = isGood
    if (this.#hashesOf.has(this.#seq)) this.#hashes.set(this.#seq, this.#hash)
    if (isGood && line.includes(HEAD_KIND)) this.#judgeHead(line, place, segment, lineNumber)
    if (this.#entries === 1) this.#firstAtMs = parseLedgerLine(line)?.atMs
    this.#last = line
  }

  endOf(segment: string, { firstLine, lines, unfinishedBytes }: Lines, isLast: boolean): void {
    // The line is in a block that will be written over.
    this.#last = this.#last && Buffer.from(this.#last)
    if (unfinishedBytes === 0) return
    if (isLast) this.#unfinishedBytes = unfinishedBytes
    else {
      const complaint = `${unfinishedBytes} bytes behind entry ${this.#seq} are no whole line`
      this.#fault(segment, firstLine + lines.length, this.#seq + 1, complaint)
    }
  }

  result(): Omit<LedgerCheck, 'segments'> {
    return {
      entries: this.#entries,
      sizeBytes: this.#sizeBytes,
      hash: this.#hash,
      firstAtMs: this.#firstAtMs,
      lastAtMs: this.#last && parseLedgerLine(this.#last)?.atMs,
      faults: this.#faults,
      faultsFound: this.#faultsFound,
      goodHeads: this.#goodHeads,
      lastHead: this.#lastHead,
      unfinishedBytes: this.#unfinishedBytes,
      hashes: this.#hashes,
    }
  }

  #compare({ seq, previous }: { seq: number; previous: string }, segment: string, line: number): void {
    const expected = this.#seq + 1
    if (seq > expected) {
      const which = seq - 1 === expected ? `entry ${expected} is` : `entries ${expected} to ${seq - 1} are`
      this.#fault(segment, line, expected, `${which} missing: entry ${seq} stands in that place`)
    } else if (seq < expected) {
      const complaint = `entry ${seq} stands where entry ${expected} should: it was put there, or moved`
      this.#fault(segment, line, seq, complaint)
    } else if (previous !== this.#hash && this.#isLastGood) {
      const complaint =
        seq === 1
          ? 'entry 1 is not the first one that was written'
          : `entry ${seq - 1} is not the one that was written: entry ${seq} knows it by another hash`
      this.#fault(segment, line, Math.max(1, seq - 1), complaint)
    }
  }

  /** A head in the ledger is about everything before it. */
  #judgeHead(line: Buffer, { seq, previous }: { seq: number; previous: string }, segment: string, at: number): void {
    const entry = parseLedgerLine(line)
    if (entry?.kind !== 'head') return
    const { text, signature } = entry.facts
    const head = typeof text === 'string' && typeof signature === 'string' ? signedHeadOf(text, signature) : undefined
    const isOurs = head !== undefined && this.#key !== undefined && isMinisigned(this.#key, head.text, head.signature)
    if (isOurs && head.entries === seq - 1 && head.hash === previous) {
      this.#goodHeads++
      this.#lastHead = head
      return
    }
    const why = this.#key === undefined ? 'there is no key to check it with' : 'it is not what the key has signed'
    this.#fault(segment, at, seq, `the signed head in entry ${seq} proves nothing: ${why}`)
  }

  #fault(segment: string, line: number, seq: number, complaint: string): void {
    this.#faultsFound++
    if (this.#faults.length < FAULTS_LIMIT) this.#faults.push({ segment, line, seq, complaint })
  }
}

/** `undefined` for a text that is no head. Whether the signature is right is not looked at. */
function signedHeadOf(text: string, signature: string): SignedHead | undefined {
  const head = parseHead(text)
  const said = /\nat: (\S+)\nkey: ([0-9A-F]{16})\n$/.exec(text)
  if (head?.text !== text || !said) return undefined
  return { entries: head.entries, hash: head.hash, atMs: Date.parse(said[1]!), key: said[2]!, text, signature }
}

/** An entry is also about images that its facts name. */
function isAbout({ facts, image }: LedgerEntry, wanted: string): boolean {
  return image === wanted || JSON.stringify(facts).includes(JSON.stringify(wanted))
}

/** For those who have just signed it. */
export function headOf(entries: number, hash: string, atMs: number, key: MinisignKey): Omit<SignedHead, 'signature'> {
  const head = { entries, hash, atMs, key: minisignKeyName(key) }
  return { ...head, text: formatHead(head) }
}
