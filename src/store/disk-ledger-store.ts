import { dirname, join } from 'node:path'
import { hasCode } from '../errors.js'
import type { Log } from '../parts/log.js'
import { type MinisignSigner, minisign } from '../parts/minisign.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Places } from './evidence.js'
import type { OpenedFile } from './file-system.js'
import { headOf, LedgerFiles } from './ledger-files.js'
import { formatLedgerLine, hashOfLine, NO_HASH, placeOfLine } from './ledger-line.js'
import type { LedgerStore, SignedHead } from './ledger-store.js'
import { MirrorKey } from './mirror-key.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, writeFully, writeWhole } from './whole-files.js'

/** A segment that has so much is closed, and the next one begun. Around 40,000 entries. */
const SEGMENT_BYTES = 16 * 1024 * 1024
/** Written, and synced, at once. */
const BATCH_BYTES = 1024 * 1024
/** Entries wait so long for others to be written with. */
const GATHER_MS = 200
/** After the disk has refused. */
const AGAIN_MS = 1_000
/** What waits for a disk that refuses, or does not keep up. Of what comes beyond, only how much it was is kept. */
const WAITING_LIMIT_BYTES = 32 * 1024 * 1024

export interface DiskLedgerOptions extends Places {
  readonly log: Log
  /** What heads are signed with; without it, the one of this data directory, for tests. */
  readonly key?: MirrorKey
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number
  /** For tests. */
  readonly segmentBytes?: number
  readonly waitingLimitBytes?: number
}

/** Entries that there was no room for. */
interface Gap {
  lost: number
  readonly sinceMs: number
}

export class DiskLedgerStore extends LedgerFiles implements LedgerStore {
  readonly #options: DiskLedgerOptions
  readonly #directory: string
  readonly #writing = new OneAtATime()
  /** Lines in order, not yet durable. */
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #seq = 0
  #hash = NO_HASH
  /** The segment that grows, and up to where it is known to be good. */
  #segment = 1
  #goodBytes = 0
  #gap: Gap | undefined
  #lost = 0
  #damaged = 0
  #timer: NodeJS.Timeout | undefined
  #isFailing = false
  /** A crash has left something behind the good part of the segment. */
  #isTorn = false
  #isClosed = false
  readonly #mirrorKey: MirrorKey
  #key: MinisignSigner | undefined
  /** The entry that the last head stands in. */
  #headSeq = 0
  #signed: SignedHead | undefined

  /** Reads where the ledger ends, and writes nothing. What a crash has torn is cut off with the first write. */
  static async open(options: DiskLedgerOptions): Promise<DiskLedgerStore> {
    const ledger = new DiskLedgerStore(options)
    try {
      await ledger.#load()
    } catch (cause) {
      throw storeFailure('cannot open the ledger', cause)
    }
    return ledger
  }

  private constructor(options: DiskLedgerOptions) {
    super(options)
    this.#options = options
    this.#mirrorKey = options.key ?? new MirrorKey(options)
    this.#directory = join(options.root, 'ledger')
  }

  get standing(): LedgerStore['standing'] {
    return { entries: this.#seq, waiting: this.#waiting.length, lost: this.#lost, damaged: this.#damaged }
  }

  append(kind: string, image: string | undefined, facts: object): void {
    if (this.#gap && this.#waitingBytes < this.#waitingLimitBytes / 2) this.#tellGap(this.#gap)
    if (this.#gap || this.#isClosed || this.#waitingBytes > this.#waitingLimitBytes) {
      this.#gap ??= { lost: 0, sinceMs: this.#options.now() }
      this.#gap.lost++
      this.#lost++
      return
    }
    this.#add(kind, image, facts)
    this.#flushIn(GATHER_MS)
  }

  async flush(): Promise<void> {
    const seq = this.#seq
    await this.#writing.run(async () => {
      if (this.#seq - this.#waiting.length < seq) await this.#write()
    })
  }

  async sign(): Promise<SignedHead> {
    const { fileSystem, now, partial } = this.#options
    try {
      this.#key ??= await this.#mirrorKey.open()
      // Nothing but the last head has happened since: it says all there is to say.
      if (!this.#signed || this.#seq !== this.#headSeq) {
        const head = headOf(this.#seq, this.#hash, now(), this.#key)
        const comment = `entries ${head.entries} hash ${head.hash}`
        this.#signed = { ...head, signature: minisign(this.#key, head.text, comment) }
        const { text, signature } = this.#signed
        this.#add('head', undefined, { text, signature })
        this.#headSeq = this.#seq
      }
      const signed = this.#signed
      await this.flush()
      await this.#writing.run(async () => {
        await writeWhole(fileSystem, join(this.#directory, 'head'), Buffer.from(signed.text), partial)
        await writeWhole(fileSystem, join(this.#directory, 'head.minisig'), Buffer.from(signed.signature), partial)
      })
      return signed
    } catch (cause) {
      throw storeFailure('cannot sign the head of the ledger', cause)
    }
  }

  /** Writes what waits, if that is possible, and takes nothing more. */
  async close(): Promise<void> {
    if (this.#gap) this.#tellGap(this.#gap)
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.flush().catch((error: unknown) => {
      this.#options.log.error({ err: error, entries: this.#waiting.length }, 'the end of the ledger is lost')
    })
  }

  get #waitingLimitBytes(): number {
    return this.#options.waitingLimitBytes ?? WAITING_LIMIT_BYTES
  }

  #add(kind: string, image: string | undefined, facts: object): void {
    const seq = this.#seq + 1
    const entry = { seq, atMs: this.#options.now(), kind, image, facts: facts as Record<string, unknown> }
    const line = formatLedgerLine(entry, this.#hash)
    this.#seq = seq
    this.#hash = hashOfLine(line.subarray(0, -1))
    this.#waiting.push(line)
    this.#waitingBytes += line.length
  }

  #tellGap({ lost, sinceMs }: Gap): void {
    this.#gap = undefined
    this.#add('ledger-gap', undefined, { lost, since: new Date(sinceMs).toISOString() })
  }

  #flushIn(ms: number): void {
    if (this.#timer || this.#isClosed) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.flush().then(
        () => {
          if (this.#waiting.length > 0) this.#flushIn(GATHER_MS)
        },
        (error: unknown) => {
          // Told once, and not again every second.
          if (!this.#isFailing)
            this.#options.log.error({ err: error }, 'the ledger cannot be written; what happens waits')
          this.#isFailing = true
          this.#flushIn(AGAIN_MS)
        },
      )
    }, ms)
    this.#timer.unref()
  }

  /** Everything that waits, a batch after the other; each is durable, or not there at all. */
  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        let sizeBytes = 0
        let count = 0
        for (const line of this.#waiting) {
          if (sizeBytes >= BATCH_BYTES) break
          sizeBytes += line.length
          count++
        }
        // What is torn behind a full segment is cut off by one write more to it: in a segment that is not the last, it would be a fault.
        if (this.#goodBytes >= (this.#options.segmentBytes ?? SEGMENT_BYTES) && !this.#isTorn) {
          this.#segment++
          this.#goodBytes = 0
        }
        await this.#writeBatch(Buffer.concat(this.#waiting.slice(0, count)))
        this.#isTorn = false
        this.#waiting.splice(0, count)
        this.#waitingBytes -= sizeBytes
      }
      if (this.#isFailing) this.#options.log.info({ lost: this.#gap?.lost ?? 0 }, 'the ledger can be written again')
      this.#isFailing = false
      if (this.#gap) {
        this.#tellGap(this.#gap)
        this.#flushIn(GATHER_MS)
      }
    } catch (cause) {
      throw storeFailure('cannot write the ledger', cause)
    }
  }

  async #writeBatch(bytes: Buffer): Promise<void> {
    // No entry without the key that is to sign for it: a crash before the first head would look like a key that was taken
    // away. If it cannot be made, what happened is written all the same, and `sign` tells why.
    if (this.#segment === 1 && this.#goodBytes === 0) {
      this.#key ??= await this.#mirrorKey.open().catch(() => undefined)
    }
    const file = await this.#openSegment()
    try {
      // An earlier failure, or a crash, may have left something behind the good part.
      if ((await file.sizeBytes()) > this.#goodBytes) await file.truncate(this.#goodBytes)
      try {
        await writeFully(file, bytes, this.#goodBytes)
        await file.sync()
      } catch (cause) {
        await file.truncate(this.#goodBytes).catch(() => {})
        throw cause
      }
      this.#goodBytes += bytes.length
    } finally {
      await file.close()
    }
  }

  async #openSegment(): Promise<OpenedFile> {
    const { fileSystem } = this.#options
    const path = join(this.#directory, segmentName(this.#segment))
    if (this.#goodBytes > 0) return await fileSystem.open(path, 'write')
    await ensureDirectory(fileSystem, this.#directory)
    let file: OpenedFile
    try {
      file = await fileSystem.open(path, 'create')
    } catch (cause) {
      // Made by an attempt that failed after it, or by a run that was killed before its first line was whole.
      if (!hasCode(cause, 'EEXIST')) throw cause
      file = await fileSystem.open(path, 'write')
    }
    try {
      await fileSystem.syncDirectory(dirname(path))
    } catch (cause) {
      await file.close()
      throw cause
    }
    return file
  }

  async #load(): Promise<void> {
    const { log, root } = this.#options
    const segments = await this.segments()
    let cut: { segment: string; bytes: number } | undefined
    // Mostly the last one; a run that was killed may have begun one, and written no line into it.
    for (const segment of segments.reverse()) {
      const { damaged, endBytes, last, lines, sizeBytes } = await this.endOf(segment)
      if (sizeBytes > endBytes) cut = { segment, bytes: sizeBytes - endBytes }
      this.#segment = Number.parseInt(segment, 10)
      this.#goodBytes = endBytes
      this.#isTorn = sizeBytes > endBytes
      if (!last) continue
      this.#damaged = damaged
      if (damaged > 0) {
        const message = `ledger/${segment} has damaged entries (${damaged}); imgapi-mirror audit verify names them`
        log.error({ path: join(root, 'ledger', segment), damaged }, message)
      }
      this.#hash = hashOfLine(last)
      // Of a damaged line the number is not believed; the chain goes on behind it, and the check tells which it was.
      this.#seq = placeOfLine(last)?.seq ?? lines
      break
    }
    const head = await this.signedHead().catch(() => undefined)
    if (cut) {
      log.info({ ...cut }, 'the end of the ledger was never written to the end, and is cut off')
      this.#add('ledger-cut', undefined, cut)
    }
    if (head && head.entries > this.#seq) {
      log.error(
        { path: join(root, 'ledger'), entries: this.#seq, head: head.text },
        `the ledger has ${this.#seq} entries, where ${head.entries} were signed: its end is missing`,
      )
      const { entries, hash: signedHash } = head
      this.#add('ledger-shortened', undefined, { signedEntries: entries, signedHash, foundEntries: this.#seq })
    }
  }
}

function segmentName(number: number): string {
  return `${String(number).padStart(6, '0')}.jsonl`
}
