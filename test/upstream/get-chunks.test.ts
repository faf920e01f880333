import { createHash } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ImageFile } from '../../src/images/manifest.js'
import type { Uuid } from '../../src/images/uuid.js'
import { ChunkReader } from '../../src/upstream/get-chunks.js'
import { HttpClient } from '../../src/upstream/http-client.js'
import { FakeClock } from '../support/fake-clock.js'
import { serveMirror } from '../support/imgapi-server.js'
import { wireOf } from '../support/memory-mirror.js'
import { answerJson, type Handler, serve } from '../support/upstreams/serve.js'
import { never, started, upstreamAt } from './upstream-under-test.js'

const CHUNK_BYTES = 65_536
const bytes = Buffer.alloc(150_000, 'image')
const hash = (algorithm: string, data: Buffer) => createHash(algorithm).update(data).digest('hex')
const digests = { sha1: hash('sha1', bytes), sha256: hash('sha256', bytes), md5: hash('md5', bytes) }
const chunks = [0, 1, 2].map((index) => hash('sha256', bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)))
const file: ImageFile = {
  sizeBytes: bytes.length,
  compression: 'none',
  digests: [
    { algorithm: 'sha1', hex: digests.sha1 },
    { algorithm: 'md5', hex: digests.md5 },
  ],
}
/** As src/http/imgapi/get-image-chunks.ts writes it. */
const body = {
  uuid: 'x',
  index: 0,
  size: bytes.length,
  ...digests,
  chunk_size: CHUNK_BYTES,
  algorithm: 'sha256',
  chunks,
}
const OURS = { server: 'imgapi-mirror/0.1.0' }

async function asking(handler: Handler) {
  const server = await started(serve(handler))
  const client = new HttpClient({
    name: 'upstream',
    origin: server.url,
    fileHosts: [],
    tls: { insecure: false },
    timeouts: { connectMs: 5_000, headersMs: 5_000, stallMs: 5_000 },
    connections: 4,
    environment: {},
    version: '0.0.1',
  })
  onTestFinished(() => client.close())
  const clock = new FakeClock()
  const reader = new ChunkReader(client, clock)
  const url = new URL(`${server.url}/images/x/chunks?index=0`)
  return { server, clock, get: () => reader.get(url, { file, headers: {}, priority: 'client', signal: never }) }
}

describe('chunk hashes', () => {
  it.each([
    ['a mirror like us', OURS],
    ['one behind a proxy with a name of its own', { server: 'nginx' }],
  ])('come from %s', async (_who, headers) => {
    const { get } = await asking((_request, response) => answerJson(response, 200, body, headers))
    const found = { sizeBytes: bytes.length, ...digests, chunkBytes: CHUNK_BYTES, chunks }
    expect(await get()).toEqual(found)
    expect(await get()).toEqual(found)
  })

  it.each([
    ['says that there is nothing', (response) => answerJson(response, 404, { code: 'ResourceNotFound' })],
    ['sends a page', (response) => response.end('<html>')],
    ['sends some other JSON', (response) => answerJson(response, 200, [])],
    ['redirects elsewhere', (response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
    ['does not know the method', (response) => response.writeHead(405).end()],
    ['refuses with a status of its own', (response) => response.writeHead(418).end()],
  ] satisfies [string, (response: Parameters<Handler>[1]) => unknown][])(
    'are not asked for again for a while of a server that %s',
    async (_what, answer) => {
      const { server, clock, get } = await asking((_request, response) => void answer(response))
      expect(await get()).toBeUndefined()
      expect(await get()).toBeUndefined()
      expect(server.requests).toHaveLength(1)
      await clock.advance(600_000)
      expect(await get()).toBeUndefined()
      expect(server.requests).toHaveLength(2)
    },
  )

  it('that a mirror has not of one file, it may have of the next', async () => {
    const { server, get } = await asking((_request, response) => answerJson(response, 404, {}, OURS))
    expect(await get()).toBeUndefined()
    expect(await get()).toBeUndefined()
    expect(server.requests).toHaveLength(2)
  })

  it('are not denied by a server that cannot answer now', async () => {
    const { server, get } = await asking((_request, response) => response.writeHead(503).end())
    await expect(get()).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
    await expect(get()).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
    expect(server.requests).toHaveLength(2)
  })

  it.each([
    ['of a file of another size', { size: bytes.length + 1 }],
    ['of a file with another digest', { sha1: '0'.repeat(40) }],
    ['without a sha256', { sha256: undefined }],
    ['hashed in another way', { algorithm: 'md5' }],
    ['of tiny chunks', { chunk_size: 1 }],
    ['of huge chunks', { chunk_size: 2 ** 40 }],
    ['of chunks without a size', { chunk_size: '65536' }],
    ['of too few chunks', { chunks: chunks.slice(1) }],
    ['of too many chunks', { chunks: [...chunks, chunks[0]] }],
    ['that are none', { chunks: [...chunks.slice(1), 'x'.repeat(64)] }],
    ['that are no list', { chunks: { length: 3 } }],
    ['longer than they can be', { padding: 'x'.repeat(100_000) }],
  ])('%s are refused from a mirror', async (_what, wrong) => {
    const { get } = await asking((_request, response) => answerJson(response, 200, { ...body, ...wrong }, OURS))
    await expect(get()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })

  it('are what our own server gives', async () => {
    const { mirror, url } = await serveMirror()
    const uuid = '11111111-2222-4333-8444-555555555555'
    mirror.add(wireOf(uuid, bytes), [bytes])
    const upstream = upstreamAt('imgapi', url)
    const statement = (await upstream.getImage(uuid as Uuid, never))!
    const expected = await mirror.getChunks(uuid as Uuid, 0)
    expect(await upstream.getChunks(statement, 0, never)).toEqual(expected)
  })
})
