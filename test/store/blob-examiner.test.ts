import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../src/errors.js'
import { readChunks } from '../../src/store/blob-examiner.js'
import { CHUNK_BYTES } from '../../src/store/blob-store.js'
import type { HashPool, Reading } from '../../src/store/hash-pool.js'
import { systemError } from './faulty-file-system.js'

const CHUNKS = 6

/** A disk that cannot read some of its chunks, which no test can make a real one do. */
function poolOnBadDisk(...badChunks: number[]): Pick<HashPool, 'read'> & { readonly starts: number[] } {
  const starts: number[] = []
  const read = (_path: string, { startBytes, digests, onChunk }: Reading) => {
    starts.push(startBytes / CHUNK_BYTES)
    let next = startBytes / CHUNK_BYTES
    let fail: (error: unknown) => void = () => {}
    const failed = new Promise<never>((_, reject) => {
      fail = reject
    })
    failed.catch(() => {})
    const grown = (sizeBytes: number) => {
      for (; next * CHUNK_BYTES < sizeBytes; next++) {
        if (badChunks.includes(next)) return fail(new MirrorError('STORE_BROKEN', 'bad', { cause: systemError('EIO') }))
        onChunk(`hash of ${next}`)
      }
    }
    const finish = async (sizeBytes: number) => {
      grown(sizeBytes)
      if (next < CHUNKS) return await failed
      return { digests: Object.fromEntries(digests.map((each) => [each, `all of it`])), chunks: [] }
    }
    return { grown, finish, failed, cancel() {} }
  }
  return { read, starts }
}

async function readAll(pool: Pick<HashPool, 'read'>, fromChunk = 0) {
  const told: number[] = []
  const { hashes, digests } = await readChunks(pool, {
    path: '/a/blob',
    sizeBytes: CHUNKS * CHUNK_BYTES - 5,
    fromChunk,
    digests: ['sha256'],
    signal: new AbortController().signal,
    onChunk: (index) => void told.push(index),
  })
  const unread = hashes.flatMap((hash, index) => (hash === undefined ? [index] : []))
  return { unread, digests, told }
}

describe('readChunks', () => {
  it('reads them all, and the whole', async () => {
    expect(await readAll(poolOnBadDisk())).toEqual({
      unread: [],
      digests: { sha256: 'all of it' },
      told: [0, 1, 2, 3, 4, 5],
    })
  })

  it.each([[[0]], [[2, 3]], [[5]], [[0, 1, 2, 3, 4, 5]]])(
    'reads around chunks %j that the disk refuses',
    async (bad) => {
      const pool = poolOnBadDisk(...bad)
      expect(await readAll(pool)).toEqual({ unread: bad, digests: undefined, told: [0, 1, 2, 3, 4, 5] })
    },
  )

  it('begins where it is told, and knows nothing of the whole then', async () => {
    const pool = poolOnBadDisk(4)
    expect(await readAll(pool, 3)).toEqual({ unread: [0, 1, 2, 4], digests: undefined, told: [3, 4, 5] })
    expect(pool.starts).toEqual([3, 5])
  })
})
