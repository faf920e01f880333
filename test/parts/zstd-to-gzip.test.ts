import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { zstdToGzip } from '../../src/parts/zstd-to-gzip.js'

const never = new AbortController().signal
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const zstd = (bytes: Buffer, ...options: string[]) =>
  execFileSync('zstd', ['-q', '-c', ...options], { input: bytes, maxBuffer: 2 ** 28 })

async function* pieces(bytes: Buffer, pieceBytes = 65_536) {
  for (let start = 0; start < bytes.length; start += pieceBytes) yield bytes.subarray(start, start + pieceBytes)
}

async function convert(packed: Buffer, { maxUnpackedBytes = 2 ** 30, pieceBytes = 65_536, signal = never } = {}) {
  const written: Buffer[] = []
  const write = async (bytes: Buffer) => void written.push(bytes)
  const unpacked = await zstdToGzip(pieces(packed, pieceBytes), write, { maxUnpackedBytes, signal })
  return { ...unpacked, gzip: Buffer.concat(written) }
}

/** Text that packs well, numbers that do not, a long run of nothing. */
const mixed = Buffer.concat([
  Buffer.from(Array.from({ length: 60_000 }, (_, place) => `line ${place * 7919}\n`).join('')),
  randomBytes(700_000),
  Buffer.alloc(900_000),
])
const skippable = Buffer.concat([Buffer.from('502a4d1804000000', 'hex'), Buffer.from('abcd')])

describe('zstd to gzip', () => {
  it.each([
    ['as zstd writes it', () => zstd(mixed)],
    ['packed as hard as can be', () => zstd(mixed, '-19')],
    ['packed in a hurry, without checksums', () => zstd(mixed, '--fast=5', '--no-check')],
    ['in several frames', () => Buffer.concat([zstd(mixed.subarray(0, 99_999)), zstd(mixed.subarray(99_999))])],
    [
      'with frames to be skipped, as zstd:chunked has them',
      () => Buffer.concat([zstd(mixed.subarray(0, 5000)), skippable, zstd(mixed.subarray(5000)), skippable]),
    ],
  ])('gives the same content: %s', async (_form, make) => {
    const packed = make()
    for (const pieceBytes of [packed.length, 4099]) {
      const { gzip, unpackedBytes, unpackedSha256 } = await convert(packed, { pieceBytes })
      expect(gunzipSync(gzip).equals(mixed)).toBe(true)
      expect([unpackedBytes, unpackedSha256]).toEqual([mixed.length, sha256(mixed)])
    }
  })

  it('gives the same bytes every time, however they come', async () => {
    const packed = zstd(mixed)
    const one = await convert(packed)
    const other = await convert(packed, { pieceBytes: 777 })
    expect(one.gzip.equals(other.gzip)).toBe(true)
    // No time, no name.
    expect(one.gzip.subarray(0, 10).toString('hex')).toBe('1f8b0800000000000003')
  })

  it('takes nothing at all for what it is', async () => {
    const { gzip, unpackedBytes } = await convert(zstd(Buffer.alloc(0)))
    expect(gunzipSync(gzip)).toHaveLength(0)
    expect(unpackedBytes).toBe(0)
  })

  it.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)],
    ['cut by a byte', (bytes: Buffer) => bytes.subarray(0, -5)],
    ['empty', () => Buffer.alloc(0)],
    ['gzip', () => Buffer.from('1f8b0800000000000003', 'hex')],
    ['followed by something else', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('something else')])],
  ])('refuses what is %s', async (_fault, spoil) => {
    await expect(convert(spoil(zstd(mixed, '--no-check')))).rejects.toMatchObject({ name: 'UnpackError' })
  })

  it('stops at a bomb long before it has unpacked it', async () => {
    const bomb = zstd(Buffer.alloc(150_000_000))
    expect(bomb.length).toBeLessThan(20_000)
    let writtenBytes = 0
    const write = async (bytes: Buffer) => {
      writtenBytes += bytes.length
    }
    const limits = { maxUnpackedBytes: 10_000_000, signal: never }
    await expect(zstdToGzip(pieces(bomb), write, limits)).rejects.toThrow('unpacks to more than 10000000 bytes')
    expect(writtenBytes).toBeLessThan(100_000)
  })

  it('waits for who writes, and reads no further than that takes', async () => {
    const packed = zstd(randomBytes(8_000_000))
    let readBytes = 0
    let writtenBytes = 0
    let mostAheadBytes = 0
    async function* counted() {
      for await (const piece of pieces(packed)) {
        readBytes += piece.length
        mostAheadBytes = Math.max(mostAheadBytes, readBytes - writtenBytes)
        yield piece
      }
    }
    const write = async (bytes: Buffer) => {
      await new Promise((resolve) => setImmediate(resolve))
      writtenBytes += bytes.length
    }
    await zstdToGzip(counted(), write, { maxUnpackedBytes: 2 ** 30, signal: never })
    expect(mostAheadBytes).toBeLessThan(2_000_000)
  })

  it('ends with whatever ends its reader, its writer or its caller', async () => {
    const packed = zstd(randomBytes(1_000_000))
    const limits = { maxUnpackedBytes: 2 ** 30, signal: never }
    async function* failing() {
      yield packed.subarray(0, 100)
      throw new Error('the disk refuses')
    }
    await expect(zstdToGzip(failing(), async () => {}, limits)).rejects.toThrow('the disk refuses')
    const full = async () => {
      throw new Error('the disk is full')
    }
    await expect(zstdToGzip(pieces(packed), full, limits)).rejects.toThrow('the disk is full')
    const abort = new AbortController()
    const leave = async () => abort.abort(new Error('enough'))
    await expect(zstdToGzip(pieces(packed), leave, { ...limits, signal: abort.signal })).rejects.toThrow('enough')
  })
})
