import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import Koa from 'koa'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Context } from '../../src/http/every-request.js'
import { sendBytes } from '../../src/http/send-bytes.js'
import { FileStream, PIECE_BYTES } from '../../src/mirror/file-stream.js'
import { deferred } from '../../src/parts/deferred.js'
import { until } from '../support/running-mirror.js'

/** As many as read ahead at most, from file-stream.ts. */
const MOST_READING_AHEAD = 32

/** A file whose every piece is full of its place, and who has pieces of it. */
function makeFile() {
  const file = {
    lent: 0,
    mostLent: 0,
    piece: async (positionBytes: number, endBytes: number): Promise<Uint8Array> => {
      file.lent++
      file.mostLent = Math.max(file.mostLent, file.lent)
      return Buffer.alloc(Math.min(PIECE_BYTES, endBytes - positionBytes), positionBytes / PIECE_BYTES)
    },
    spent: () => {
      file.lent--
    },
  }
  return file
}

async function opened(count: number, stream: () => FileStream): Promise<FileStream[]> {
  const streams = Array.from({ length: count }, stream)
  onTestFinished(() => {
    for (const each of streams) each.destroy()
  })
  return streams
}

describe('a stream of a file', () => {
  it('gives its range in order, and closes once it is read to its end', async () => {
    const file = makeFile()
    let closed = 0
    const stream = new FileStream(file, PIECE_BYTES, 3 * PIECE_BYTES + 5, () => closed++)
    const pieces: Buffer[] = []
    for await (const piece of stream) {
      pieces.push(Buffer.from(piece))
      file.spent()
    }
    const right = [Buffer.alloc(PIECE_BYTES, 1), Buffer.alloc(PIECE_BYTES, 2), Buffer.alloc(5, 3)]
    expect(Buffer.concat(pieces).equals(Buffer.concat(right))).toBe(true)
    stream.destroy()
    expect([closed, file.lent]).toEqual([1, 0])
  })

  it('asks for large pieces for the first of a crowd, and for none of the rest', async () => {
    const asked: (boolean | undefined)[] = []
    const source = {
      piece: async (_positionBytes: number, _endBytes: number, mayBeLarge?: boolean) => {
        asked.push(mayBeLarge)
        return Buffer.alloc(1)
      },
      spent: () => {},
    }
    const streams = await opened(MOST_READING_AHEAD + 10, () => new FileStream(source, 0, 1))
    await Promise.all(streams.map((stream) => stream.next()))
    expect(asked.filter(Boolean)).toHaveLength(MOST_READING_AHEAD)
    expect(asked.slice(-10)).toEqual(Array(10).fill(false))
  })

  it('tells who waits at once that it is destroyed, whatever the file does, and takes nothing that comes later', async () => {
    const file = makeFile()
    const [late, isAsked] = [deferred<Uint8Array>(), deferred<void>()]
    const stream = new FileStream(
      {
        piece: () => {
          isAsked.resolve()
          return late.promise
        },
        spent: file.spent,
      },
      0,
      10,
    )
    const next = stream.next()
    await isAsked.promise
    stream.destroy()
    await expect(next).rejects.toThrow('nothing more of this file is wanted')
    late.resolve(await file.piece(0, 10))
    await new Promise(setImmediate)
    expect(file.lent).toBe(0)
  })

  it('fails with what the file fails with, having given what came before', async () => {
    const stream = new FileStream(
      {
        piece: async (positionBytes) => {
          if (positionBytes > 0) throw new Error('the disk is gone')
          return Buffer.alloc(7)
        },
        spent: () => {},
      },
      0,
      10,
    )
    expect((await stream.next()).value).toHaveLength(7)
    await expect(stream.next()).rejects.toThrow('the disk is gone')
  })

  it('gives a piece back that was read ahead, and that nobody took', async () => {
    const file = makeFile()
    const stream = new FileStream(file, 0, 5 * PIECE_BYTES)
    await stream.next()
    await new Promise(setImmediate)
    expect(file.lent).toBe(2)
    stream.destroy()
    expect(file.lent).toBe(1)
  })

  it('reads one piece ahead, and none in a crowd', async () => {
    const file = makeFile()
    const crowd = await opened(MOST_READING_AHEAD + 100, () => new FileStream(file, 0, 5 * PIECE_BYTES))
    for (const stream of crowd) await stream.next()
    await new Promise(setImmediate)
    expect(file.lent).toBe(2 * MOST_READING_AHEAD + 100)
  })
})

it('has one piece for each of many clients who read slowly or not at all, and two for the first of them', async () => {
  const clients = 150
  const file = makeFile()
  const sizeBytes = 64 * PIECE_BYTES
  let failed = 0
  const app = new Koa()
  // Of clients who leave in the middle.
  app.silent = true
  app.use(async (context) => {
    const departure = new AbortController()
    context.res.on('close', () => departure.abort(new Error('gone')))
    Object.assign(context.state, { sentBytes: 0, startedMs: 0, departed: departure.signal })
    const stream = new FileStream(file, 0, sizeBytes)
    try {
      await sendBytes(context as unknown as Context, sizeBytes, stream, file.spent)
    } catch {
      failed++
    }
  })
  const handle = app.callback()
  const server = createServer((request, response) => void handle(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const sockets = Array.from({ length: clients }, () => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.pause()
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    return socket
  })
  // All of them have come, and stand.
  await until(() => file.lent >= clients)
  for (const socket of sockets) socket.resume()
  await until(() => file.lent < clients)
  for (const socket of sockets) socket.destroy()
  await until(() => file.lent === 0 || failed > 0)
  expect(file.mostLent).toBeLessThanOrEqual(clients + MOST_READING_AHEAD)
})
