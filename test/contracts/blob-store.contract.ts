import { createHash, randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Digest, DigestAlgorithm } from '../../src/images/digest.js'
import { type BlobStore, CHUNK_BYTES, type ExpectedBlob, type Fingerprint } from '../../src/store/blob-store.js'

/** Two whole chunks and a part of a third. */
const bytes = randomBytes(2 * CHUNK_BYTES + 12_345)

export function digestOf(algorithm: DigestAlgorithm, content: Uint8Array): Digest {
  return { algorithm, hex: createHash(algorithm).update(content).digest('hex') }
}

export function expectedOf(content: Uint8Array, ...algorithms: DigestAlgorithm[]): ExpectedBlob {
  return { sizeBytes: content.length, digests: algorithms.map((algorithm) => digestOf(algorithm, content)) }
}

/** Receives `content` in pieces as a network would bring them, and keeps it. */
export async function receive(
  store: BlobStore,
  expected: ExpectedBlob,
  content: Uint8Array,
  pieceBytes = 65_537,
): Promise<Fingerprint> {
  const partial = await store.receive(expected)
  try {
    for (let start = 0; start < content.length; start += pieceBytes) {
      await partial.append(content.subarray(start, start + pieceBytes))
    }
    await partial.verify()
    return await partial.keep()
  } finally {
    await partial.close()
  }
}

export async function readBlob(store: BlobStore, sha256: string): Promise<Buffer | undefined> {
  const blob = await store.open(sha256)
  if (!blob) return undefined
  try {
    const content = Buffer.alloc(blob.ref.sizeBytes)
    expect(await blob.read(content, 0)).toBe(content.length)
    return content
  } finally {
    await blob.close()
  }
}

/** Run by every implementation of the interface. `makeStore` makes an empty one; `end` closes it and looks for leftovers. */
export function blobStoreContract(
  name: string,
  makeStore: () => Promise<{ readonly store: BlobStore; readonly end: () => Promise<void> }>,
) {
  describe(`${name} as a BlobStore`, () => {
    let store: BlobStore
    let end: () => Promise<void>
    beforeEach(async () => {
      const made = await makeStore()
      store = made.store
      end = made.end
    })
    afterEach(() => end())

    const sha256 = digestOf('sha256', bytes).hex

    it('gives back the bytes it was given, under each of their digests', async () => {
      const fingerprint = await receive(store, expectedOf(bytes, 'sha1'), bytes)
      expect(fingerprint).toMatchObject({
        sizeBytes: bytes.length,
        sha256,
        sha1: digestOf('sha1', bytes).hex,
        md5: digestOf('md5', bytes).hex,
        chunks: [0, 1, 2].map((i) => digestOf('sha256', bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES)).hex),
      })
      expect(fingerprint.keptMs % 1000).toBe(0)
      expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
      expect(await store.fingerprint(sha256)).toEqual(fingerprint)
      for (const algorithm of ['sha256', 'sha1', 'md5'] as const) {
        expect(store.find(digestOf(algorithm, bytes))?.sha256).toBe(sha256)
        expect(store.find(digestOf(algorithm, bytes), bytes.length)?.sha256).toBe(sha256)
        expect(store.find(digestOf(algorithm, bytes), bytes.length + 1)).toBeUndefined()
      }
      expect([...store.all()].map((ref) => ref.sha256)).toEqual([sha256])
    })

    it('knows nothing of what it was never given', async () => {
      expect(store.find(digestOf('sha1', bytes))).toBeUndefined()
      expect(await store.open(sha256)).toBeUndefined()
      expect(await store.fingerprint(sha256)).toBeUndefined()
    })

    it.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])('keeps a blob of %i bytes', async (sizeBytes) => {
      const content = bytes.subarray(0, sizeBytes)
      const { chunks, sha256 } = await receive(store, expectedOf(content, 'sha1'), content)
      expect(chunks).toHaveLength(Math.ceil(sizeBytes / CHUNK_BYTES))
      expect((await readBlob(store, sha256))?.equals(content)).toBe(true)
    })

    it.each<{ promised: DigestAlgorithm[] }>([
      { promised: ['sha256'] },
      { promised: ['sha1'] },
      { promised: ['md5'] },
      { promised: ['sha1', 'md5'] },
    ])('takes blobs with $promised promised', async ({ promised }) => {
      expect((await receive(store, expectedOf(bytes, ...promised), bytes)).sha256).toBe(sha256)
    })

    const flipped = Buffer.from(bytes)
    flipped[flipped.length - 100]! ^= 1
    it.each([
      ['a byte is flipped', flipped, 'differs'],
      ['the last byte is missing', bytes.subarray(0, -1), 'shorter'],
      ['nothing arrives', bytes.subarray(0, 0), 'shorter'],
      ['a byte too many arrives', Buffer.concat([bytes, Buffer.from('!')]), 'longer'],
    ])('keeps nothing when %s', async (_fault, arriving, complaint) => {
      const failing = receive(store, expectedOf(bytes, 'sha1'), arriving)
      await expect(failing).rejects.toMatchObject({
        code: 'UPSTREAM_MISBEHAVED',
        message: expect.stringContaining(complaint),
      })
      expect([...store.all()]).toEqual([])
      await receive(store, expectedOf(bytes, 'sha1'), bytes) // and is not spoilt by the failure
    })

    it('names the promised digest and the one it found', async () => {
      const failing = receive(store, expectedOf(bytes, 'sha1'), flipped)
      await expect(failing).rejects.toThrow(digestOf('sha1', bytes).hex)
      await expect(receive(store, expectedOf(bytes, 'sha1'), flipped)).rejects.toThrow(digestOf('sha1', flipped).hex)
    })

    it('writes nothing of a surplus, and still reads what came before it', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.append(bytes.subarray(0, -10))
      await expect(partial.append(Buffer.alloc(11))).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
      expect(partial.receivedBytes).toBe(bytes.length - 10)
      expect(await partial.read(Buffer.alloc(100), bytes.length - 20)).toBe(10)
      await partial.close()
    })

    it('does not believe keep without verify, and keeps nothing then', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.append(flipped)
      await expect(partial.keep()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
      expect([...store.all()]).toEqual([])
      await partial.close()
    })

    it('refuses bytes whose strongest digest is right and a weaker one is not', async () => {
      const digests = [digestOf('sha1', bytes), digestOf('md5', flipped)]
      const partial = await store.receive({ sizeBytes: bytes.length, digests })
      await partial.append(bytes)
      await partial.verify()
      await expect(partial.keep()).rejects.toMatchObject({
        code: 'UPSTREAM_MISBEHAVED',
        message: expect.stringContaining('md5'),
      })
      expect([...store.all()]).toEqual([])
      await partial.close()
    })

    it('lets size alone decide when no digest was promised', async () => {
      const expected = { sizeBytes: bytes.length, digests: [] }
      await expect(receive(store, expected, bytes.subarray(1))).rejects.toThrow('shorter')
      expect((await receive(store, expected, bytes)).sha256).toBe(sha256)
    })

    it('takes the same blob twice, and keeps the first', async () => {
      const first = await receive(store, expectedOf(bytes, 'sha1'), bytes)
      expect(await receive(store, expectedOf(bytes, 'md5'), bytes)).toEqual(first)
      expect([...store.all()]).toHaveLength(1)
    })

    it('takes the same blob from several flights at once', async () => {
      const kept = await Promise.all(
        Array.from({ length: 5 }, (_, flight) => receive(store, expectedOf(bytes, 'sha1'), bytes, 100_000 + flight)),
      )
      expect(new Set(kept.map((fingerprint) => fingerprint.sha256))).toEqual(new Set([sha256]))
      expect([...store.all()]).toHaveLength(1)
      expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
    })

    it('lets readers follow a blob that is still arriving, through keep and until close', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      const piece = Buffer.alloc(1000)
      await partial.append(bytes.subarray(0, 1500))
      expect(await partial.read(piece, 0)).toBe(1000)
      expect(piece.equals(bytes.subarray(0, 1000))).toBe(true)
      expect(await partial.read(piece, 1000)).toBe(500)
      expect(await partial.read(piece, 1500)).toBe(0)
      expect(await partial.read(piece, 9999)).toBe(0)
      const [, ...reads] = await Promise.all([
        partial.append(bytes.subarray(1500)),
        ...Array.from({ length: 10 }, (_, index) => partial.read(Buffer.alloc(100), index * 100)),
      ])
      expect(reads).toEqual(Array(10).fill(100))
      await partial.verify()
      await partial.keep()
      expect(await partial.read(piece, bytes.length - 1000)).toBe(1000)
      expect(piece.equals(bytes.subarray(-1000))).toBe(true)
      await partial.close()
      expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
    })

    it('forgets a discarded blob, whose readers may read on until it is closed', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.append(bytes)
      await partial.discard()
      await partial.discard()
      expect(await partial.read(Buffer.alloc(100), 5)).toBe(100)
      await partial.close()
      await partial.close()
      expect([...store.all()]).toEqual([])
    })

    it('keeps what was kept, whatever is said of it afterwards', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.append(bytes)
      const [fingerprint] = await Promise.all([partial.keep(), partial.discard(), partial.close()])
      expect(fingerprint.sha256).toBe(sha256)
      expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
    })

    it('reads from any position, several at once, and no further than the end', async () => {
      await receive(store, expectedOf(bytes, 'sha1'), bytes)
      const blob = (await store.open(sha256))!
      const positions = Array.from({ length: 20 }, (_, index) => index * 100_001)
      await Promise.all(
        positions.map(async (position) => {
          const buffer = Buffer.alloc(70_000)
          const readBytes = await blob.read(buffer, position)
          expect(buffer.subarray(0, readBytes).equals(bytes.subarray(position, position + 70_000))).toBe(true)
        }),
      )
      expect(await blob.read(Buffer.alloc(10), bytes.length)).toBe(0)
      expect(await blob.read(Buffer.alloc(10), bytes.length + 5)).toBe(0)
      await blob.close()
      await blob.close()
    })
  })
}
