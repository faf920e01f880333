import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import Koa from 'koa'
import { expect, it, onTestFinished } from 'vitest'
import type { Context } from '../../src/http/every-request.js'
import { sendBytes } from '../../src/http/send-bytes.js'
import { until } from '../support/running-mirror.js'

const CHUNK_BYTES = 1024 * 1024
/** More than the system takes for a client who reads nothing. */
const CHUNKS = 64

it('says that a chunk is sent only when nobody needs it any more: not while it waits for a slow client', async () => {
  const [given, sent]: [Uint8Array[], Uint8Array[]] = [[], []]
  function* chunks() {
    for (let place = 0; place < CHUNKS; place++) {
      const chunk = Buffer.alloc(CHUNK_BYTES, place)
      given.push(chunk)
      yield chunk
    }
  }
  const app = new Koa()
  app.use(async (context) => {
    Object.assign(context.state, { sentBytes: 0, startedMs: 0, departed: new AbortController().signal })
    // As whoever reads into it again would: what is not out by then would be spoilt.
    await sendBytes(context as unknown as Context, CHUNKS * CHUNK_BYTES, chunks(), (chunk) => {
      sent.push(chunk)
      chunk.fill(255)
    })
  })
  const handle = app.callback()
  const server = createServer((request, response) => void handle(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.pause()
  client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  await until(() => given.length > sent.length && given.length > 1)

  const pieces: Buffer[] = []
  client.on('data', (piece) => pieces.push(piece))
  client.resume()
  await once(client, 'close')
  const all = Buffer.concat(pieces)
  const body = all.subarray(all.indexOf('\r\n\r\n') + 4)
  const right = Buffer.concat(Array.from({ length: CHUNKS }, (_, place) => Buffer.alloc(CHUNK_BYTES, place)))
  expect(body.equals(right)).toBe(true)
  expect(sent).toHaveLength(CHUNKS)
})
