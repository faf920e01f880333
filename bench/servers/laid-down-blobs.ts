import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { silentLog } from '../../src/parts/log.js'
import { BlobIndex } from '../../src/store/blob-index.js'
import type { BlobRow } from '../../src/store/blob-table.js'
import { sealJson } from '../../src/store/sealed-json.js'

export const LAID_DOWN_BYTES = 8
const SHELVES = 256

/**
 * Fills the data directory of a mirror that does not run: blobs of 8 bytes that are no image's, with their fingerprints and rows
 * of the index, as the mirror would have written them, but without a single fsync.
 */
export async function layDownBlobs(dataDirectory: string, count: number): Promise<void> {
  for (const kind of ['blobs', 'fingerprints']) {
    for (let shelf = 0; shelf < SHELVES; shelf++) {
      mkdirSync(join(dataDirectory, kind, 'sha256', shelf.toString(16).padStart(2, '0')), { recursive: true })
    }
  }
  const index = await BlobIndex.open(join(dataDirectory, 'index'), silentLog)
  await index.put(blobs(dataDirectory, count))
  await index.close()
}

/** Each is on the disk when it is handed over. */
function* blobs(dataDirectory: string, count: number): Generator<BlobRow> {
  const keptMs = Math.floor(Date.now() / 1000) * 1000
  const bytes = Buffer.alloc(LAID_DOWN_BYTES)
  for (let place = 0; place < count; place++) {
    bytes.writeUInt32BE(place)
    const sha256 = hexOf('sha256', bytes)
    const ref = { sizeBytes: bytes.length, sha256, sha1: hexOf('sha1', bytes), md5: hexOf('md5', bytes), keptMs }
    const shelf = join('sha256', sha256.slice(0, 2))
    writeFileSync(join(dataDirectory, 'blobs', shelf, sha256), bytes)
    const fingerprint = sealJson(JSON.stringify({ ...ref, chunks: [sha256] }))
    writeFileSync(join(dataDirectory, 'fingerprints', shelf, `${sha256}.json`), fingerprint)
    yield { ref, usedMs: keptMs + place }
  }
}

function hexOf(algorithm: string, bytes: Buffer): string {
  return createHash(algorithm).update(bytes).digest('hex')
}
