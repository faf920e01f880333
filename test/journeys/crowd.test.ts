import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { deferred } from '../../src/parts/deferred.js'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import type { MirrorProcess } from '../support/mirror-process.js'
import { until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { startMirrorProcess } from './mirror-process.js'

const MIB = 1024 * 1024
const CLIENTS = 200
const SLOW = 3
const LEAVING = 10

interface Reader {
  /** Resolves when all of the file has come; rejects when it was cut, or other bytes came. */
  readonly complete: Promise<void>
  readonly socket: net.Socket
}

/** Compares what comes with the file, byte by byte, and keeps nothing of it. `onBytes` sees how much has come so far. */
function read(url: string, path: string, file: Buffer, onBytes: (count: number, socket: net.Socket) => void): Reader {
  const { hostname, port } = new URL(url)
  const socket = net.connect({ host: hostname, port: Number(port) })
  onTestFinished(() => void socket.destroy())
  socket.write(`GET ${path} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n`)
  const { promise: complete, resolve, reject } = deferred<void>()
  complete.catch(() => {})
  let head = Buffer.alloc(0)
  let isInBody = false
  let count = 0
  const takeHead = (piece: Buffer): Buffer => {
    head = Buffer.concat([head, piece])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0) return Buffer.alloc(0)
    isInBody = true
    const text = head.toString('latin1', 0, end)
    if (!/^HTTP\/1.1 200 /.test(text) || !new RegExp(`^content-length: ${file.length}\r?$`, 'im').test(text)) {
      reject(new Error(`not the file: ${text}`))
    }
    return head.subarray(end + 4)
  }
  socket.on('data', (piece: Buffer) => {
    const body = isInBody ? piece : takeHead(piece)
    if (!body.equals(file.subarray(count, count + body.length))) reject(new Error(`other bytes after ${count}`))
    count += body.length
    onBytes(count, socket)
  })
  socket.on('error', reject)
  socket.on('close', () => (count === file.length ? resolve() : reject(new Error(`cut after ${count} bytes`))))
  return { complete, socket }
}

/** 200 clients at once for a cold file of `sizeBytes`; answers the mirror's peak memory. */
async function sendCrowd(sizeBytes: number): Promise<number> {
  const file = randomBytes(sizeBytes)
  const image = makeImage({}, file)
  const upstream = await startSdcImgapi({ images: [image] })
  onTestFinished(() => upstream.close())
  const mirror = await startMirrorProcess({ upstreams: [{ name: 'u', url: upstream.url }] })
  const path = `/images/${uuidOf(image)}/file`

  // Slow: reads a little, and goes on when everybody else is done. Leaving: reads a little, and goes.
  let areOthersDone = false
  const slow = Array.from({ length: SLOW }, () =>
    read(mirror.url, path, file, (_count, socket) => {
      if (!areOthersDone) socket.pause()
    }),
  )
  const leaving = Array.from({ length: LEAVING }, (_, place) =>
    read(mirror.url, path, file, (count, socket) => {
      if (count > place * 50_000) socket.destroy()
    }),
  )
  const steady = Array.from({ length: CLIENTS - SLOW - LEAVING }, () => read(mirror.url, path, file, () => {}))
  await Promise.all(leaving.map(({ socket }) => once(socket, 'close')))
  await Promise.all(steady.map(({ complete }) => complete))
  await until(async () => (await statusOf(mirror)).imagesHeld === 1)
  areOthersDone = true
  for (const { socket } of slow) socket.resume()
  await Promise.all(slow.map(({ complete }) => complete))

  expect(upstream.requests.filter(({ url }) => url.includes('/file'))).toHaveLength(1)
  expect(await bytesFromUpstream(mirror)).toBe(sizeBytes)
  const peakBytes = await mirror.peakBytes()
  expect(await mirror.stop()).toBe(0)
  await upstream.close()
  return peakBytes
}

async function statusOf({ operatorUrl }: MirrorProcess): Promise<{ imagesHeld: number }> {
  return (await (await fetch(`${operatorUrl}/status`)).json()) as { imagesHeld: number }
}

async function bytesFromUpstream({ operatorUrl }: MirrorProcess): Promise<number> {
  const metrics = await (await fetch(`${operatorUrl}/metrics`)).text()
  return Number(/^imgapi_mirror_upstream_received_bytes_total\{upstream="u"\} (\d+)$/m.exec(metrics)?.[1])
}

it('serves 200 clients a cold file at once for one request upstream, in memory that does not grow with the file', async () => {
  const small = await sendCrowd(16 * MIB)
  const large = await sendCrowd(64 * MIB)
  console.info(`peak memory: ${Math.round(small / MIB)} MiB for 16 MiB, ${Math.round(large / MIB)} MiB for 64 MiB`)
  // Buffered once per client it would be 9,600 MiB more. Garbage that has not been collected yet is what the rest is for.
  expect(large - small).toBeLessThan(150 * MIB)
  expect(large).toBeLessThan(600 * MIB)
}, 300_000)
