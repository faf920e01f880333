import { createHash, randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Digest, DigestAlgorithm } from '../../src/images/digest.js'
import {
  type BlobStore,
  type ByteSource,
  CHUNK_BYTES,
  type ExpectedBlob,
  type Fingerprint,
  type OpenBlob,
  type PartialBlob,
} from '../../src/store/blob-store.js'

/** Two whole chunks and a part of a third. */
const bytes = randomBytes(2 * CHUNK_BYTES + 12_345)

export const east: ByteSource = { upstream: 'east', location: 'http://east.example/file' }
export const west: ByteSource = { upstream: 'west', location: 'http://west.example/file' }

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
      await partial.write(start, content.subarray(start, start + pieceBytes), east)
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

    it('takes what comes only once, and leaves nothing of it when it breaks off', async () => {
      const expected = { ...expectedOf(bytes, 'sha1'), isOnce: true }
      const cut = await store.receive(expected)
      await cut.append(bytes.subarray(0, CHUNK_BYTES))
      await cut.suspend()
      expect([...store.suspended()]).toEqual([])
      expect(await receive(store, expected, bytes)).toMatchObject({ sha256 })
    })

    it('takes what nobody has said the length of, and makes it as long as it is', async () => {
      const partial = await store.receive({ sizeBytes: 2 ** 50, digests: [], isOnce: true, isOpenEnded: true })
      await partial.append(bytes.subarray(0, CHUNK_BYTES))
      expect(store.receivingBytes).toBe(CHUNK_BYTES)
      await expect(partial.verify()).rejects.toThrow('shorter')
      await partial.append(bytes.subarray(CHUNK_BYTES))
      partial.end()
      expect(partial.expected.sizeBytes).toBe(bytes.length)
      await partial.verify()
      expect(await partial.keep()).toMatchObject({ sha256, sizeBytes: bytes.length })
      await partial.close()
      expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
      expect(store.receivingBytes).toBe(0)
    })

    it('counts a blob among what is coming or among what is kept, and never among both', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.append(bytes)
      const counted = () => [store.receivingBytes, store.keptBytes]
      expect(counted()).toEqual([bytes.length, 0])
      await partial.keep()
      expect(counted()).toEqual([0, bytes.length])
      await partial.close()
      expect(counted()).toEqual([0, bytes.length])
    })

    it('takes no more than the most that was allowed', async () => {
      const partial = await store.receive({ sizeBytes: 10, digests: [], isOnce: true, isOpenEnded: true })
      await expect(partial.append(bytes.subarray(0, 11))).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
      await partial.close()
      const sized = await store.receive(expectedOf(bytes))
      expect(() => sized.end()).toThrow('promised')
      await sized.close()
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

    it('names the promised digest and the one it found, once each', async () => {
      const [promised, found] = [digestOf('sha1', bytes).hex, digestOf('sha1', flipped).hex]
      const failing = receive(store, expectedOf(bytes, 'sha1'), flipped)
      await expect(failing).rejects.toThrow(`blob sha1:${promised} differs from what was promised: it has ${found}`)
    })

    it('writes nothing of a surplus, and still reads what came before it', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.write(0, bytes.subarray(0, -10), east)
      await expect(partial.write(bytes.length - 10, Buffer.alloc(11), east)).rejects.toMatchObject({
        code: 'UPSTREAM_MISBEHAVED',
      })
      expect(partial.receivedBytes).toBe(bytes.length - 10)
      expect(await partial.read(Buffer.alloc(100), bytes.length - 20)).toBe(10)
      await partial.close()
    })

    it('does not believe keep without verify, and keeps nothing then', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.write(0, flipped, east)
      await expect(partial.keep()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
      expect([...store.all()]).toEqual([])
      await partial.close()
    })

    it('refuses bytes whose strongest digest is right and a weaker one is not', async () => {
      const digests = [digestOf('sha1', bytes), digestOf('md5', flipped)]
      const partial = await store.receive({ sizeBytes: bytes.length, digests })
      await partial.write(0, bytes, east)
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
      await partial.write(0, bytes.subarray(0, 1500), east)
      expect(await partial.read(piece, 0)).toBe(1000)
      expect(piece.equals(bytes.subarray(0, 1000))).toBe(true)
      expect(await partial.read(piece, 1000)).toBe(500)
      expect(await partial.read(piece, 1500)).toBe(0)
      expect(await partial.read(piece, 9999)).toBe(0)
      const [, ...reads] = await Promise.all([
        partial.write(1500, bytes.subarray(1500), east),
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
      await partial.write(0, bytes, east)
      await partial.discard()
      await partial.discard()
      expect(await partial.read(Buffer.alloc(100), 5)).toBe(100)
      await partial.close()
      await partial.close()
      expect([...store.all()]).toEqual([])
    })

    it('keeps what was kept, whatever is said of it afterwards', async () => {
      const partial = await store.receive(expectedOf(bytes, 'sha1'))
      await partial.write(0, bytes, east)
      const [fingerprint] = await Promise.all([partial.keep(), partial.discard(), partial.close()])
      expect(fingerprint.sha256).toBe(sha256)
      expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
    })

    describe('with bytes that come out of order', () => {
      const middle = CHUNK_BYTES + 100
      const end = 2 * CHUNK_BYTES

      it('keeps them, and remembers who gave which', async () => {
        const partial = await store.receive(expectedOf(bytes, 'sha1'))
        await partial.write(end, bytes.subarray(end), west)
        expect(partial.receivedBytes).toBe(0)
        await Promise.all([
          partial.write(0, bytes.subarray(0, 1000), east),
          partial.write(middle, bytes.subarray(middle, end), west),
        ])
        expect(partial.receivedBytes).toBe(1000)
        await partial.write(1000, bytes.subarray(1000, middle), east)
        expect(partial.receivedBytes).toBe(bytes.length)
        expect(partial.extents).toEqual([
          { startBytes: 0, endBytes: middle, ...east },
          { startBytes: middle, endBytes: bytes.length, ...west },
        ])
        await partial.verify()
        expect((await partial.keep()).sha256).toBe(sha256)
        await partial.close()
        expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
      })

      it('reads them up to the next gap', async () => {
        const partial = await store.receive(expectedOf(bytes, 'sha1'))
        await partial.write(middle, bytes.subarray(middle, end), west)
        const buffer = Buffer.alloc(1000)
        expect(await partial.read(buffer, 0)).toBe(0)
        expect(await partial.read(buffer, middle - 1)).toBe(0)
        expect(await partial.read(buffer, end - 400)).toBe(400)
        expect(buffer.subarray(0, 400).equals(bytes.subarray(end - 400, end))).toBe(true)
        await partial.close()
      })

      it('finds the wrong ones among them', async () => {
        const partial = await store.receive(expectedOf(bytes, 'sha1'))
        await partial.write(middle, flipped.subarray(middle), west)
        await partial.write(0, bytes.subarray(0, middle), east)
        await expect(partial.verify()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
        await partial.close()
        expect([...store.all()]).toEqual([])
      })

      it('is not whole with a gap in the middle', async () => {
        const partial = await store.receive(expectedOf(bytes, 'sha1'))
        await partial.write(0, bytes.subarray(0, middle), east)
        await partial.write(end, bytes.subarray(end), east)
        await expect(partial.verify()).rejects.toThrow('shorter')
        await expect(partial.chunks()).rejects.toThrow('before all of')
        await expect(partial.digestNow()).rejects.toThrow('before all of')
        await expect(partial.splice(0, bytes.subarray(0, 10), west)).rejects.toThrow('before all of')
        await partial.close()
      })

      it('does not write twice what is here, or on its way', async () => {
        const partial = await store.receive(expectedOf(bytes, 'sha1'))
        const first = partial.write(100, bytes.subarray(100, 200), east)
        await expect(partial.write(199, bytes.subarray(199, 300), west)).rejects.toThrow('already')
        await first
        await expect(partial.write(50, bytes.subarray(50, 101), west)).rejects.toThrow('already')
        expect(partial.extents).toEqual([{ startBytes: 100, endBytes: 200, ...east }])
        await partial.close()
      })
    })

    describe('mending a file that is all here and wrong', () => {
      async function receiveFlipped() {
        const partial = await store.receive(expectedOf(bytes, 'sha1'))
        await partial.write(0, flipped, east)
        await expect(partial.verify()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
        return partial
      }

      it('keeps it when the wrong bytes were replaced', async () => {
        const partial = await receiveFlipped()
        const place = flipped.length - 150
        await partial.splice(place, bytes.subarray(place, place + 100), west)
        await partial.verify()
        expect(partial.extents.map(({ upstream }) => upstream)).toEqual(['east', 'west', 'east'])
        expect((await partial.keep()).sha256).toBe(sha256)
        await partial.close()
        expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
      })

      it('says at any time what the file has become', async () => {
        const partial = await receiveFlipped()
        expect(await partial.digestNow()).toBe(digestOf('sha1', flipped).hex)
        const chunksOf = (content: Buffer) =>
          [0, 1, 2].map((i) => digestOf('sha256', content.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES)).hex)
        expect(await partial.chunks()).toEqual(chunksOf(flipped))
        await partial.splice(0, Buffer.from('something else'), west)
        await expect(partial.verify()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
        await partial.splice(0, bytes.subarray(0, 14), west)
        expect(await partial.digestNow()).toBe(digestOf('sha1', flipped).hex)
        await partial.splice(flipped.length - 100, bytes.subarray(-100), west)
        expect(await partial.digestNow()).toBe(digestOf('sha1', bytes).hex)
        expect(await partial.chunks()).toEqual(chunksOf(bytes))
        await partial.verify()
        await partial.close()
      })

      it('tells the digest of a good file too', async () => {
        const partial = await store.receive({ sizeBytes: bytes.length, digests: [] })
        await partial.write(0, bytes, east)
        expect(await partial.digestNow()).toBe(sha256)
        expect(await partial.chunks()).toHaveLength(3)
        await partial.close()
      })
    })

    describe('going on with a file that was broken off', () => {
      const half = CHUNK_BYTES + 500

      it('has what was there, and takes the rest', async () => {
        const first = await store.receive(expectedOf(bytes, 'sha1'))
        await first.write(0, bytes.subarray(0, half), east)
        await first.write(half + 1000, bytes.subarray(half + 1000, half + 2000), west)
        await first.suspend()
        await first.close()
        expect([...store.suspended()]).toMatchObject([{ expected: expectedOf(bytes, 'sha1'), receivedBytes: half }])
        const second = await store.receive(expectedOf(bytes, 'sha1', 'md5'))
        expect([...store.suspended()]).toEqual([])
        expect(second.receivedBytes).toBe(half)
        expect(second.extents).toEqual([
          { startBytes: 0, endBytes: half, ...east },
          { startBytes: half + 1000, endBytes: half + 2000, ...west },
        ])
        await second.write(half, bytes.subarray(half, half + 1000), east)
        await second.write(half + 2000, bytes.subarray(half + 2000), east)
        await second.verify()
        expect((await second.keep()).sha256).toBe(sha256)
        await second.close()
        expect([...store.suspended()]).toEqual([])
      })

      it('goes on at once, while the one before is still being suspended', async () => {
        const first = await store.receive(expectedOf(bytes, 'sha1'))
        await first.write(0, bytes.subarray(0, half), east)
        const suspending = first.suspend()
        const second = await store.receive(expectedOf(bytes, 'sha1'))
        expect(second.receivedBytes).toBe(half)
        await suspending
        await second.close()
        expect([...store.suspended()]).toEqual([])
      })

      it.each([
        ['was discarded', async (partial: PartialBlob) => partial.discard()],
        ['was closed', async (partial: PartialBlob) => partial.close()],
        [
          'was refused',
          async (partial: PartialBlob) => {
            await partial.write(half, flipped.subarray(half), east)
            await partial.verify().catch(() => {})
          },
        ],
      ])('does not, when it %s', async (_end, end) => {
        const first = await store.receive(expectedOf(bytes, 'sha1'))
        await first.write(0, bytes.subarray(0, half), east)
        await end(first)
        await first.suspend()
        expect([...store.suspended()]).toEqual([])
        const second = await store.receive(expectedOf(bytes, 'sha1'))
        expect(second.receivedBytes).toBe(0)
        await second.close()
      })

      it('does, when it was refused and then mended', async () => {
        const first = await store.receive(expectedOf(bytes, 'sha1'))
        await first.write(0, flipped, east)
        await first.verify().catch(() => {})
        await first.splice(flipped.length - 100, bytes.subarray(-100), west)
        await first.suspend()
        const second = await store.receive(expectedOf(bytes, 'sha1'))
        expect(second.extents.map(({ upstream }) => upstream)).toEqual(['east', 'west'])
        await second.verify()
        await second.keep()
        await second.close()
      })

      it('does not mistake one file for another', async () => {
        const first = await store.receive(expectedOf(bytes, 'sha1'))
        await first.write(0, bytes.subarray(0, half), east)
        await first.suspend()
        for (const other of [
          expectedOf(bytes, 'md5'),
          expectedOf(flipped, 'sha1'),
          { ...expectedOf(bytes, 'sha1'), sizeBytes: bytes.length + 1 },
          { ...expectedOf(bytes, 'sha1'), digests: [] },
        ]) {
          const partial = await store.receive(other)
          expect(partial.receivedBytes).toBe(0)
          await partial.close()
        }
        expect(await store.reclaim(Number.POSITIVE_INFINITY)).toBeGreaterThan(0)
      })

      it('leaves nothing of a file without a digest, or without a byte', async () => {
        const nameless = await store.receive({ sizeBytes: bytes.length, digests: [] })
        await nameless.write(0, bytes.subarray(0, half), east)
        await nameless.suspend()
        await (await store.receive(expectedOf(bytes, 'sha1'))).suspend()
        expect([...store.suspended()]).toEqual([])
      })

      it('gives two who ask at once a file each', async () => {
        const [first, second] = await Promise.all([
          store.receive(expectedOf(bytes, 'sha1')),
          store.receive(expectedOf(bytes, 'sha1')),
        ])
        await first.write(0, bytes.subarray(0, half), east)
        expect(second.receivedBytes).toBe(0)
        await second.suspend()
        await first.suspend()
        expect([...store.suspended()]).toHaveLength(1)
        await store.reclaim(Number.POSITIVE_INFINITY)
      })

      it('reclaims what nobody has touched for long', async () => {
        const partial = await store.receive(expectedOf(bytes, 'sha1'))
        await partial.write(0, bytes.subarray(0, half), east)
        const started = Date.now() - 60_000
        await partial.suspend()
        expect(await store.reclaim(started)).toBe(0)
        const [left] = store.suspended()
        expect(left!.touchedMs).toBeGreaterThan(started)
        expect(await store.reclaim(left!.touchedMs + 1)).toBe(left!.sizeOnDiskBytes)
        expect([...store.suspended()]).toEqual([])
        const again = await store.receive(expectedOf(bytes, 'sha1'))
        expect(again.receivedBytes).toBe(0)
        await again.close()
      })
    })

    describe('letting go', () => {
      it('forgets a blob under all its digests, and takes it again', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        expect(await store.letGo(sha256)).toBe(true)
        for (const algorithm of ['sha256', 'sha1', 'md5'] as const) {
          expect(store.find(digestOf(algorithm, bytes))).toBeUndefined()
        }
        expect(await store.open(sha256)).toBeUndefined()
        expect(await store.fingerprint(sha256)).toBeUndefined()
        expect(await store.isChunkGood(sha256, 0, bytes.subarray(0, CHUNK_BYTES))).toBe(false)
        expect(store.lastUsedMs(sha256)).toBeUndefined()
        expect(await store.letGo(sha256)).toBe(false)
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
      })

      it('does not when it turns out to be needed at the last moment', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        expect(await store.letGo(sha256, () => true)).toBe(false)
        expect((await readBlob(store, sha256))?.equals(bytes)).toBe(true)
        expect(await store.letGo(sha256, () => false)).toBe(true)
      })

      it('does not while somebody reads, not even if they are just beginning to', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        const opening = store.open(sha256)
        expect(await store.letGo(sha256)).toBe(false)
        const [first, second] = [(await opening)!, (await store.open(sha256))!]
        await first.close()
        await first.close()
        expect(await store.letGo(sha256)).toBe(false)
        await second.close()
        expect(await store.letGo(sha256)).toBe(true)
      })

      it('either opens a blob or lets go of it', async () => {
        for (let round = 0; round < 20; round++) {
          await receive(store, expectedOf(bytes.subarray(0, 100), 'sha1'), bytes.subarray(0, 100))
          const { hex } = digestOf('sha256', bytes.subarray(0, 100))
          const [isGone, blob] =
            round % 2 === 0
              ? await Promise.all([store.letGo(hex), store.open(hex)])
              : ((await Promise.all([store.open(hex), store.letGo(hex)])).reverse() as [boolean, OpenBlob | undefined])
          expect(isGone).toBe(blob === undefined)
          expect(await blob?.read(Buffer.alloc(100), 0)).toBe(blob && 100)
          await blob?.close()
          await store.letGo(hex)
        }
      })
    })

    it('remembers when a blob was last of use', async () => {
      const before = Date.now()
      await receive(store, expectedOf(bytes, 'sha1'), bytes)
      const keptMs = store.lastUsedMs(sha256)!
      expect(keptMs).toBeGreaterThanOrEqual(before)
      await readBlob(store, sha256)
      expect(store.lastUsedMs(sha256)).toBeGreaterThanOrEqual(keptMs)
      expect(store.lastUsedMs(digestOf('sha256', flipped).hex)).toBeUndefined()
    })

    it('tells the chunks of a blob from others', async () => {
      await receive(store, expectedOf(bytes, 'sha1'), bytes)
      const chunk = (content: Uint8Array, index: number) =>
        content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)
      for (const index of [0, 1, 2]) expect(await store.isChunkGood(sha256, index, chunk(bytes, index))).toBe(true)
      expect(await store.isChunkGood(sha256, 1, chunk(bytes, 0))).toBe(false)
      expect(await store.isChunkGood(sha256, 2, chunk(flipped, 2))).toBe(false)
      expect(await store.isChunkGood(sha256, 0, chunk(bytes, 0).subarray(1))).toBe(false)
      expect(await store.isChunkGood(sha256, 3, Buffer.alloc(0))).toBe(false)
      expect(await store.isChunkGood(digestOf('sha256', flipped).hex, 0, chunk(flipped, 0))).toBe(false)
    })

    describe('examining', () => {
      const { signal } = new AbortController()

      it('finds nothing in a good blob, reading it chunk by chunk', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        const read: number[] = []
        const examination = await store.examine(sha256, { signal, onChunk: (index) => void read.push(index) })
        expect(examination).toEqual({ damagedChunks: [], isWhole: true, fingerprint: 'good' })
        expect(read).toEqual([0, 1, 2])
      })

      it('goes on at the chunk it is told', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        const read: number[] = []
        const onChunk = (index: number) => void read.push(index)
        const examination = await store.examine(sha256, { signal, fromChunk: 2, onChunk })
        expect(examination).toEqual({ damagedChunks: [], isWhole: undefined, fingerprint: 'good' })
        expect(read).toEqual([2])
        expect(await store.examine(sha256, { signal, fromChunk: 99 })).toMatchObject({ damagedChunks: [] })
      })

      it('takes the time it is given', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        const started = performance.now()
        await store.examine(sha256, { signal, bytesPerSecond: 10 * CHUNK_BYTES })
        expect(performance.now() - started).toBeGreaterThan(195)
      })

      it('stops when it is told to', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        const abort = new AbortController()
        const examining = store.examine(sha256, {
          signal: abort.signal,
          bytesPerSecond: 1000,
          onChunk: () => abort.abort(new Error('enough')),
        })
        await expect(examining).rejects.toThrow('enough')
        await expect(store.examine(sha256, { signal: abort.signal })).rejects.toThrow('enough')
      })

      it('keeps nobody from letting go, and knows nothing of what is not here', async () => {
        await receive(store, expectedOf(bytes, 'sha1'), bytes)
        const examining = store.examine(sha256, {
          signal,
          bytesPerSecond: 20 * CHUNK_BYTES,
          onChunk: (index) => void (index === 0 && store.letGo(sha256)),
        })
        expect(await examining).toBeUndefined()
        expect(await store.examine(sha256, { signal })).toBeUndefined()
      })

      it('reads an empty blob', async () => {
        await receive(store, expectedOf(Buffer.alloc(0), 'sha1'), Buffer.alloc(0))
        const { hex } = digestOf('sha256', Buffer.alloc(0))
        expect(await store.examine(hex, { signal })).toMatchObject({ damagedChunks: [], isWhole: true })
      })
    })

    it('has room for less while a flight is under way', async () => {
      const freeBytes = await store.freeBytes()
      expect(freeBytes).toBeGreaterThan(0)
      const size = 2 ** 38
      const partial = await store.receive({
        ...expectedOf(bytes, 'sha1'),
        sizeBytes: Math.floor(Math.min(size, freeBytes / 2)),
      })
      expect(await store.freeBytes()).toBeLessThan(freeBytes * 0.75)
      await partial.close()
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
