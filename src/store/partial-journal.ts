import { OneAtATime } from '../parts/one-at-a-time.js'
import type { ByteSource, ExpectedBlob, Extent } from './blob-store.js'
import { isSameBoot } from './boot-identity.js'
import { Extents, isSameSource } from './extents.js'
import type { OpenedFile } from './file-system.js'
import { readLines } from './read-lines.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { writeFully } from './whole-files.js'

/** Bytes received and not yet written down: what a SIGKILL makes us fetch again, over all connections together. */
const NOTE_BYTES = 512 * 1024
/** Far longer than any line of ours: the extents of a line are few, and a location is a url. */
const LINE_LIMIT_BYTES = 256 * 1024
const EXTENTS_A_LINE = 1000

/** `[startBytes, endBytes]` */
type Range = readonly [number, number]

interface Header {
  /** The format of the lines. */
  readonly journal: 1
  readonly expected: ExpectedBlob
  /** When the lines after this were written: see boot-identity.ts. */
  readonly boot: string
}

/** Every line but the first. */
type Note =
  /** These bytes are in the file. */
  | { readonly from: ByteSource; readonly extents: readonly Range[] }
  /** These bytes took the place of others. */
  | { readonly from: ByteSource; readonly splice: Range }
  /** What the first so many notes say of the file is synced. */
  | { readonly synced: number }
  /** All of it together was not what was promised, as it was then. */
  | { readonly refused: true }

/** What a journal says of its file. */
export interface WrittenDown {
  readonly expected: ExpectedBlob
  readonly extents: Extents
  readonly isRefused: boolean
}

/**
 * What is in a partial file, and from whom: JSON lines, each with a CRC, appended as the bytes come. A line is written
 * after the bytes it tells of. So after the end of our process, which loses nothing that was written, every line is
 * true; and after the end of the machine, those that a later `synced` line counts.
 */
export class PartialJournal {
  readonly #file: OpenedFile
  readonly #turns = new OneAtATime()
  /** Noted, and not yet written down; as many as there are connections, or gaps between them. */
  #pending: Extent[] = []
  #pendingBytes = 0
  /** Where the next line goes: over what is left of one that could not be written. */
  #endBytes: number
  #notes: number

  /** The lines of a journal for a file with these extents, all of them synced. */
  static beginning(expected: ExpectedBlob, boot: string, extents: readonly Extent[]): { text: Buffer; notes: number } {
    const header: Header = { journal: 1, expected, boot }
    const notes: Note[] = notesOf(extents)
    if (notes.length > 0) notes.push({ synced: notes.length })
    return { text: Buffer.concat([header, ...notes].map(formLine)), notes: notes.length }
  }

  /** Goes on behind a `beginning` that is in the file. Closes the file in the end. */
  constructor(file: OpenedFile, { text, notes }: { text: Buffer; notes: number }) {
    this.#file = file
    this.#endBytes = text.length
    this.#notes = notes
  }

  /** Notes bytes that were written; they go to the file when a few have come together. */
  async add(extent: Extent): Promise<void> {
    this.#note(extent)
    if (this.#pendingBytes >= NOTE_BYTES) await this.#flush()
  }

  async splice({ startBytes, endBytes, ...from }: Extent): Promise<void> {
    await this.#flush()
    await this.#append([{ from, splice: [startBytes, endBytes] }])
  }

  async refuse(): Promise<void> {
    await this.#flush()
    await this.#append([{ refused: true }])
  }

  /** Makes all that was noted so far durable: in the file it tells of, which is `syncBytes`, and here. */
  async sync(syncBytes: () => Promise<void>): Promise<void> {
    await this.#flush()
    const notes = this.#notes
    await syncBytes()
    await this.#append([{ synced: notes }])
    await this.#file.sync()
  }

  async close(): Promise<void> {
    await this.#turns.idle()
    await this.#file.close()
  }

  #note(extent: Extent): void {
    this.#pendingBytes += extent.endBytes - extent.startBytes
    const index = this.#pending.findIndex((one) => one.endBytes === extent.startBytes && isSameSource(one, extent))
    if (index < 0) this.#pending.push(extent)
    else this.#pending[index] = { ...this.#pending[index]!, endBytes: extent.endBytes }
  }

  /** Writes down what is pending. After a rejection it is pending still. */
  async #flush(): Promise<void> {
    const extents = this.#pending
    this.#pending = []
    this.#pendingBytes = 0
    try {
      await this.#append(notesOf(extents))
    } catch (cause) {
      for (const extent of extents) this.#note(extent)
      throw cause
    }
  }

  async #append(notes: readonly Note[]): Promise<void> {
    await this.#turns.run(async () => {
      if (notes.length === 0) return
      const text = Buffer.concat(notes.map(formLine))
      await writeFully(this.#file, text, this.#endBytes)
      this.#endBytes += text.length
      this.#notes += notes.length
    })
  }
}

/**
 * What the journal in `file` says, as far as it is to be believed: up to the first line that is not as we wrote it, and
 * of what was written before the machine last started only what is counted as synced. `undefined` when not even its
 * first line can be read.
 */
export async function readJournal(file: OpenedFile, boot: string): Promise<WrittenDown | undefined> {
  const notes: Note[] = []
  let header: Header | undefined
  for await (const { bytes } of readLines(file, LINE_LIMIT_BYTES)) {
    // The seal says that we wrote it and nobody changed it: its form needs no further look.
    const line = bytes && (openSealedJson(bytes) as (Header & Note) | undefined)
    if (!line) break
    if (header) notes.push(line)
    else header = line
    if (header.journal !== 1) return undefined
  }
  if (!header) return undefined
  const believed = isSameBoot(header.boot, boot) ? notes : notes.slice(0, syncedNotes(notes))
  return { expected: header.expected, ...replay(believed) }
}

function syncedNotes(notes: readonly Note[]): number {
  return notes.reduce((most, note) => ('synced' in note ? Math.max(most, note.synced) : most), 0)
}

function replay(notes: readonly Note[]): { extents: Extents; isRefused: boolean } {
  const extents = new Extents()
  let isRefused = false
  for (const note of notes) {
    if ('extents' in note) {
      for (const [startBytes, endBytes] of note.extents) extents.add({ startBytes, endBytes, ...note.from })
    } else if ('splice' in note) {
      const [startBytes, endBytes] = note.splice
      extents.replace({ startBytes, endBytes, ...note.from })
      isRefused = false
    } else if ('refused' in note) {
      isRefused = true
    }
  }
  return { extents, isRefused }
}

/** Neighbours of one source share a line. */
function notesOf(extents: readonly Extent[]): Note[] {
  const notes: { readonly from: ByteSource; readonly extents: Range[] }[] = []
  for (const { startBytes, endBytes, ...from } of extents) {
    const last = notes.at(-1)
    if (last && isSameSource(last.from, from) && last.extents.length < EXTENTS_A_LINE) {
      last.extents.push([startBytes, endBytes])
    } else {
      notes.push({ from, extents: [[startBytes, endBytes]] })
    }
  }
  return notes
}

function formLine(content: Header | Note): Buffer {
  return Buffer.from(`${sealJson(JSON.stringify(content))}\n`)
}
