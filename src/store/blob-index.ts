import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { Level } from 'level'
import type { Log } from '../parts/log.js'
import { letGoOfBallast } from './ballast.js'
import { type BlobRow, decodeRow, encodeRow, ROW_BYTES } from './blob-table.js'
import { nodeFileSystem } from './file-system.js'

const BATCH_ROWS = 1000
const CRC_BYTES = 4

/**
 * What is known of every blob, in `level`, so that a start need not read a file for each. A convenience: the files are the truth,
 * rows are not synced, and whoever reads them compares with the names on disk. Nothing here ever fails a caller; a row
 * that could not be written is missed, and made good, at the next start.
 */
export class BlobIndex {
  readonly #directory: string
  readonly #log: Log
  /** `undefined` when not even a fresh one could be opened: we live without. */
  #level: Level<string, Buffer> | undefined
  #hasComplained = false

  static async open(directory: string, log: Log): Promise<BlobIndex> {
    const index = new BlobIndex(directory, log)
    try {
      index.#level = await openWithRoom(directory, log)
    } catch (error) {
      log.warn({ directory, err: error }, 'the index cannot be opened and is built anew')
      await index.reset()
    }
    return index
  }

  get directory(): string {
    return this.#directory
  }

  private constructor(directory: string, log: Log) {
    this.#directory = directory
    this.#log = log
  }

  /**
   * Hands over every row that is as we wrote it. Answers whether there was anything else: level opens, and answers,
   * after damage without a word, so a row is believed only with its own CRC.
   */
  async read(take: (row: BlobRow) => void): Promise<{ isDamaged: boolean }> {
    let isDamaged = this.#level === undefined
    try {
      for await (const [key, value] of this.#level?.iterator() ?? []) {
        const row = parseRow(key, value)
        if (row) take(row)
        else isDamaged = true
      }
    } catch (error) {
      this.#log.warn({ directory: this.#directory, err: error }, 'the index cannot be read to its end')
      isDamaged = true
    }
    return { isDamaged }
  }

  async put(rows: Iterable<BlobRow>): Promise<void> {
    let batch: { type: 'put'; key: string; value: Buffer }[] = []
    const write = async () => {
      await this.#attempt((level) => level.batch(batch))
      batch = []
    }
    for (const row of rows) {
      batch.push({ type: 'put', key: row.ref.sha256, value: formRow(row) })
      if (batch.length === BATCH_ROWS) await write()
    }
    if (batch.length > 0) await write()
  }

  async delete(sha256: string): Promise<void> {
    await this.#attempt((level) => level.del(sha256))
  }

  /** Throws it away and starts an empty one. */
  async reset(): Promise<void> {
    try {
      await this.#level?.close()
      this.#level = undefined
      await rm(this.#directory, { recursive: true, force: true })
      this.#level = await openLevel(this.#directory)
    } catch (error) {
      this.#complain(error)
    }
  }

  async close(): Promise<void> {
    await this.#level?.close().catch((error: unknown) => this.#complain(error))
  }

  async #attempt(work: (level: Level<string, Buffer>) => Promise<void>): Promise<void> {
    if (!this.#level) return
    try {
      await work(this.#level)
    } catch (error) {
      this.#complain(error)
    }
  }

  /** Once: a disk that refuses does so for every row. */
  #complain(error: unknown): void {
    if (this.#hasComplained) return
    this.#hasComplained = true
    this.#log.warn(
      { directory: this.#directory, err: error },
      'the index cannot be written; the next start makes it good',
    )
  }
}

/** On a disk that is full, once more with the room that is held for it. The index stands in the data directory itself. */
async function openWithRoom(directory: string, log: Log): Promise<Level<string, Buffer>> {
  try {
    return await openLevel(directory)
  } catch (cause) {
    if (await letGoOfBallast(dirname(directory), { fileSystem: nodeFileSystem, log })) return await openLevel(directory)
    throw cause
  }
}

async function openLevel(directory: string): Promise<Level<string, Buffer>> {
  const level = new Level<string, Buffer>(directory, { valueEncoding: 'buffer' })
  await level.open()
  return level
}

function formRow(row: BlobRow): Buffer {
  const bytes = encodeRow(row)
  const crc = Buffer.alloc(CRC_BYTES)
  crc.writeUInt32LE(crc32(bytes))
  return Buffer.concat([bytes, crc])
}

/** The key is part of the row, so that a value that slipped under another key is found too. */
function parseRow(key: string, value: Buffer): BlobRow | undefined {
  if (value.length !== ROW_BYTES + CRC_BYTES) return undefined
  const bytes = value.subarray(0, ROW_BYTES)
  if (crc32(bytes) !== value.readUInt32LE(ROW_BYTES)) return undefined
  const row = decodeRow(bytes)
  return row.ref.sha256 === key ? row : undefined
}
