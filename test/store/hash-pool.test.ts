import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { CHUNK_BYTES } from '../../src/store/blob-store.js'
import { HashPool } from '../../src/store/hash-pool.js'
import { temporaryDirectory } from '../support/temporary.js'

const run = promisify(execFile)
const hex = (algorithm: string, bytes: Uint8Array) => createHash(algorithm).update(bytes).digest('hex')

function makePool(limit?: number): HashPool {
  const pool = new HashPool(limit)
  onTestFinished(() => pool.close())
  return pool
}

async function makeFile(bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryDirectory(), 'file')
  await fs.writeFile(path, bytes)
  return path
}

describe('HashPool', () => {
  it('measures a file while it grows, wherever the pieces end', async () => {
    const bytes = randomBytes(3 * CHUNK_BYTES + 5)
    const path = await makeFile(Buffer.alloc(0))
    const measuring = makePool().begin(path)
    for (let written = 0; written < bytes.length; written += 700_001) {
      await fs.appendFile(path, bytes.subarray(written, written + 700_001))
      measuring.grown(Math.min(bytes.length, written + 700_001))
    }
    expect(await measuring.finish(bytes.length)).toEqual({
      sha256: hex('sha256', bytes),
      sha1: hex('sha1', bytes),
      md5: hex('md5', bytes),
      chunks: [0, 1, 2, 3].map((i) => hex('sha256', bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES))),
    })
  })

  it('measures more files at once than it has threads', async () => {
    const pool = makePool(2)
    const files = Array.from({ length: 9 }, (_, index) => randomBytes(CHUNK_BYTES + index))
    const measured = await Promise.all(files.map(async (file) => pool.begin(await makeFile(file)).finish(file.length)))
    expect(measured.map(({ sha1 }) => sha1)).toEqual(files.map((file) => hex('sha1', file)))
  })

  it('goes on with a file that has lost its name', async () => {
    const pool = makePool()
    const bytes = randomBytes(2 * CHUNK_BYTES)
    const path = await makeFile(bytes)
    await pool.begin(path).finish(bytes.length) // so that the thread is there
    const measuring = pool.begin(path)
    measuring.grown(CHUNK_BYTES)
    // Messages to one thread keep their order: when this is answered, the other file is open.
    await pool.begin(await makeFile(bytes)).finish(bytes.length)
    await fs.rm(path)
    expect((await measuring.finish(bytes.length)).sha1).toBe(hex('sha1', bytes))
  })

  it.each([
    ['is not there', async () => '/nowhere/at/all', 5],
    ['is shorter than was said', async () => makeFile(Buffer.alloc(10)), 11],
  ])('says STORE_BROKEN when the file %s', async (_fault, makePath, sizeBytes) => {
    const path = await makePath()
    await expect(makePool().begin(path).finish(sizeBytes)).rejects.toMatchObject({
      code: 'STORE_BROKEN',
      message: expect.stringContaining(path),
    })
  })

  it('fails what it was measuring when it is closed, and takes nothing new', async () => {
    const pool = makePool()
    const path = await makeFile(Buffer.alloc(10))
    const measuring = pool.begin(path)
    await pool.close()
    await expect(measuring.finish(10)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    expect(() => pool.begin(path)).toThrow(expect.objectContaining({ code: 'CLOSING' }))
  })

  it('lets go of a file that is cancelled', async () => {
    const pool = makePool(1)
    const path = await makeFile(Buffer.alloc(10))
    const measuring = pool.begin(path)
    measuring.cancel()
    measuring.cancel()
    await pool.begin(await makeFile(Buffer.alloc(10))).finish(10)
    const descriptors = await fs.readdir('/proc/self/fd')
    const open = await Promise.all(descriptors.map((fd) => fs.readlink(`/proc/self/fd/${fd}`).catch(() => '')))
    expect(open).not.toContain(path)
  })

  it('takes one digest alone', async () => {
    const bytes = randomBytes(2 * CHUNK_BYTES + 5)
    const path = await makeFile(bytes)
    for (const algorithm of ['sha256', 'sha1', 'md5'] as const) {
      expect(await makePool().digest(path, algorithm, bytes.length)).toBe(hex(algorithm, bytes))
    }
  })

  it('tells the hash of each chunk as it is read, and reads no further than it is told', async () => {
    const bytes = randomBytes(3 * CHUNK_BYTES + 5)
    const path = await makeFile(bytes)
    const chunks = [0, 1, 2, 3].map((i) => hex('sha256', bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES)))
    const pool = makePool(1)
    const told: string[] = []
    const onChunk = (sha256: string) => void told.push(sha256)
    const reading = pool.read(path, { startBytes: CHUNK_BYTES, digests: ['md5'], onChunk })
    reading.grown(2 * CHUNK_BYTES)
    // One thread takes a chunk of each file in turn: when this is answered, the first chunk was read, and no other.
    await pool.digest(path, 'sha1', bytes.length)
    expect(told).toEqual(chunks.slice(1, 2))
    const { digests } = await reading.finish(bytes.length)
    expect(told).toEqual(chunks.slice(1))
    expect(digests).toEqual({ md5: hex('md5', bytes.subarray(CHUNK_BYTES)) })
  })

  it('leaves nobody waiting for a file that was cancelled', async () => {
    const measuring = makePool().begin(await makeFile(Buffer.alloc(10)))
    const finishing = measuring.finish(20)
    measuring.cancel()
    await expect(finishing).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    await expect(measuring.failed).rejects.toMatchObject({ code: 'STORE_BROKEN' })
  })

  it('works as it is compiled, too', async () => {
    const directory = await temporaryDirectory()
    const source = fileURLToPath(new URL('../../', import.meta.url))
    const outDir = join(directory, 'dist')
    await fs.writeFile(join(directory, 'package.json'), '{"type":"module"}')
    await fs.writeFile(
      join(directory, 'tsconfig.json'),
      JSON.stringify({
        extends: join(source, 'tsconfig.json'),
        compilerOptions: { outDir, rootDir: join(source, 'src'), typeRoots: [join(source, 'node_modules/@types')] },
        include: [],
        files: [join(source, 'src/store/hash-pool.ts')],
      }),
    )
    await run(process.execPath, [join(source, 'node_modules/typescript/bin/tsc'), '-p', directory])
    const file = await makeFile(Buffer.from('abc'))
    const program = `
      const { HashPool } = await import(${JSON.stringify(pathToFileURL(join(outDir, 'store/hash-pool.js')).href)})
      const pool = new HashPool()
      console.log((await pool.begin(process.argv[1]).finish(3)).sha1)
      await pool.close()
    `
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program, file])
    expect(stdout.trim()).toBe(hex('sha1', Buffer.from('abc')))
  })
})
