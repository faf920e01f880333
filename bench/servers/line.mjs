// A line that is slower and longer than loopback, in a process of its own: node line.mjs UPSTREAM_URL BYTES_PER_SECOND RTT_MS
// One TCP connection for each that comes. What comes down shares the line, in order of its coming; every byte takes half a round trip
// each way, and a new connection one more before it may ask, as a handshake does. (A kernel with netem would do the same, and slow
// start besides.) Prints its port.
import { connect, createServer } from 'node:net'

/** What one connection may have on the way; more than any line here holds in flight. */
const ON_THE_WAY_BYTES = 4 * 2 ** 20

const [upstream = '', rate = '', roundTrip = ''] = process.argv.slice(2)
const { hostname, port } = new URL(upstream)
const [bytesPerSecond, roundTripMs] = [Number(rate), Number(roundTrip)]
/** When the line has sent everything it was given, by `performance.now()`. */
let freeAtMs = 0

const server = createServer({ noDelay: true }, (client) => {
  const origin = connect({ host: hostname, port: Number(port), noDelay: true })
  const openMs = performance.now() + roundTripMs
  forward(client, origin, () => Math.max(openMs, performance.now()) + roundTripMs / 2)
  forward(origin, client, (sizeBytes) => {
    freeAtMs = Math.max(freeAtMs, performance.now()) + (sizeBytes / bytesPerSecond) * 1000
    return freeAtMs + roundTripMs / 2
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  console.log(`port ${typeof address === 'object' ? address?.port : ''}`)
})

/**
 * @param {import('node:net').Socket} from
 * @param {import('node:net').Socket} to
 * @param {(sizeBytes: number) => number} arrivalMs when so many bytes that are sent now arrive
 */
function forward(from, to, arrivalMs) {
  /** @type {{ piece: Buffer | undefined, atMs: number }[]} */
  const onTheWay = []
  let sizeBytes = 0
  let isWaiting = false
  const deliver = () => {
    isWaiting = false
    for (let next = onTheWay[0]; next && next.atMs <= performance.now(); next = onTheWay[0]) {
      onTheWay.shift()
      if (!next.piece) to.end()
      else {
        to.write(next.piece)
        sizeBytes -= next.piece.length
      }
    }
    if (sizeBytes < ON_THE_WAY_BYTES && to.writableLength < ON_THE_WAY_BYTES) from.resume()
    else if (onTheWay.length === 0) to.once('drain', deliver)
    wait()
  }
  const wait = () => {
    const [next] = onTheWay
    if (!next || isWaiting) return
    isWaiting = true
    setTimeout(deliver, next.atMs - performance.now())
  }
  from.on('data', (piece) => {
    onTheWay.push({ piece, atMs: arrivalMs(piece.length) })
    sizeBytes += piece.length
    if (sizeBytes >= ON_THE_WAY_BYTES) from.pause()
    wait()
  })
  from.on('end', () => {
    onTheWay.push({ piece: undefined, atMs: arrivalMs(0) })
    wait()
  })
  from.on('error', () => to.destroy())
  from.on('close', () => {
    if (!from.readableEnded) to.destroy()
  })
}
