import { PassThrough, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { batchesOf } from '../../src/mirror/batches-of.js'

const LIMIT_BYTES = 100
const chunk = Buffer.alloc(40, 'x')

async function lengthsOf(body: Readable): Promise<number[][]> {
  const batches: number[][] = []
  for await (const batch of batchesOf(body, LIMIT_BYTES)) batches.push(batch.map(({ length }) => length))
  return batches
}

describe('batches of a stream', () => {
  it('are all of its bytes, in order', async () => {
    const chunks = Array.from({ length: 20 }, (_, index) => Buffer.alloc(30, index))
    const taken: Buffer[] = []
    for await (const batch of batchesOf(Readable.from(chunks, { objectMode: false }), LIMIT_BYTES)) {
      taken.push(...batch)
      await new Promise(setImmediate)
    }
    expect(Buffer.concat(taken).equals(Buffer.concat(chunks))).toBe(true)
  })

  it('are what came while the last one was looked at, and not copied', async () => {
    const body = new PassThrough()
    const batches = batchesOf(body, LIMIT_BYTES)
    body.write(chunk)
    expect((await batches.next()).value).toEqual([chunk])
    body.write(chunk)
    body.write(chunk)
    await new Promise(setImmediate)
    const { value } = await batches.next()
    expect(value).toHaveLength(2)
    body.end()
    expect((await batches.next()).done).toBe(true)
  })

  it('have the stream wait when they are large enough, and go on when they are taken', async () => {
    const body = new PassThrough({ highWaterMark: 1 })
    const batches = batchesOf(body, LIMIT_BYTES)
    const first = batches.next()
    body.write(chunk)
    await first
    for (let time = 0; time < 10; time++) body.write(chunk)
    body.end()
    await new Promise(setImmediate)
    expect(body.isPaused()).toBe(true)
    const sizes: number[] = []
    for await (const batch of batches) sizes.push(batch.reduce((sum, { length }) => sum + length, 0))
    expect(sizes.reduce((sum, size) => sum + size)).toBe(400)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(LIMIT_BYTES + chunk.length)
  })

  it('come before the failure that ends them', async () => {
    const body = new PassThrough()
    const batches = batchesOf(body, LIMIT_BYTES)
    const first = batches.next()
    body.write(chunk)
    expect((await first).value).toHaveLength(1)
    body.write(chunk)
    await new Promise(setImmediate)
    body.destroy(new Error('the line is cut'))
    expect((await batches.next()).value).toHaveLength(1)
    await expect(batches.next()).rejects.toThrow('the line is cut')
  })

  it('fail when the stream closes before its end, also when it was before they began', async () => {
    const body = new PassThrough()
    const reading = lengthsOf(body)
    body.destroy()
    await expect(reading).rejects.toThrow('before its end')
    await expect(lengthsOf(body)).rejects.toThrow('closed already')
  })
})
