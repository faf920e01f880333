// Clients, in a process of their own: node readers.mjs URL COUNT ROUNDS CHECKERS [FILE [LENGTH STRIDE]]
// COUNT of them read the URL at the same time, ROUNDS times each, on a new connection each time, as imgadm does. Whatever is not
// 200 with its whole length, or differs from FILE, as the first CHECKERS of them look, is counted. With LENGTH, each wants that many bytes and a 206: the first
// one from the beginning, and each other one STRIDE bytes behind the one before. Prints one line of JSON.
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { connect } from 'node:net'

const BUFFER_BYTES = 256 * 1024

const [target = '', count = '1', rounds = '1', checkers = '1', file, length, stride = '0'] = process.argv.slice(2)
const { hostname, pathname, port } = new URL(target)
const expected = file === undefined ? undefined : openSync(file, 'r')
const expectedBytes = length !== undefined ? Number(length) : file === undefined ? undefined : statSync(file).size
// Sockets and comparisons take turns: one buffer serves all of them.
const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
const right = Buffer.allocUnsafeSlow(BUFFER_BYTES)

const startMs = performance.now()
const reads = await Promise.all(
  Array.from({ length: Number(count) }, (_, place) =>
    readAgain(Number(rounds), place * Number(stride), place < Number(checkers)),
  ),
)
const seconds = (performance.now() - startMs) / 1000
if (expected !== undefined) closeSync(expected)

const all = reads.flat()
const failed = all.filter(({ isComplete }) => !isComplete)
console.log(
  JSON.stringify({
    seconds,
    bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    complete: all.length - failed.length,
    failed: failed.length,
    corrupt: all.filter(({ isComplete, isWrong }) => isComplete && isWrong).length,
    firstByteSeconds: all.map(({ firstByteMs }) => firstByteMs / 1000),
    readSeconds: all.map(({ readMs }) => readMs / 1000),
  }),
)

/**
 * @param {number} times
 * @param {number} startBytes where in the file, if not the whole is wanted
 * @param {boolean} isChecking
 */
async function readAgain(times, startBytes, isChecking) {
  const done = []
  for (let time = 0; time < times; time++) done.push(await read(startBytes, isChecking))
  return done
}

/**
 * @param {number} startBytes
 * @param {boolean} isChecking
 * @returns {Promise<{ bytes: number, isComplete: boolean, isWrong: boolean, firstByteMs: number, readMs: number }>}
 */
function read(startBytes, isChecking) {
  const beginMs = performance.now()
  let head = ''
  let isOpen = false
  let lengthBytes = Number.NaN
  let bytes = 0
  let isWrong = false
  let firstByteMs = 0
  return new Promise((resolve) => {
    /** @param {Buffer} piece */
    const take = (piece) => {
      if (piece.length === 0) return
      if (firstByteMs === 0) firstByteMs = performance.now() - beginMs
      if (expected !== undefined && isChecking) {
        const readBytes = readSync(expected, right, 0, piece.length, startBytes + bytes)
        isWrong ||= readBytes < piece.length || right.compare(piece, 0, piece.length, 0, piece.length) !== 0
      }
      bytes += piece.length
      if (bytes === lengthBytes) socket.end()
    }
    const socket = connect({
      host: hostname,
      port: Number(port),
      onread: {
        buffer,
        callback: (size) => {
          if (isOpen) {
            take(buffer.subarray(0, size))
            return true
          }
          head += buffer.toString('latin1', 0, size)
          const end = head.indexOf('\r\n\r\n')
          if (end < 0) return true
          isOpen = true
          const bodyBytes = head.length - end - 4
          lengthBytes = head.startsWith(`HTTP/1.1 ${length === undefined ? 200 : 206} `)
            ? Number(/^content-length: (\d+)/im.exec(head.slice(0, end))?.[1])
            : Number.NaN
          take(buffer.subarray(size - bodyBytes, size))
          return true
        },
      },
    })
    const range = length === undefined ? '' : `Range: bytes=${startBytes}-${startBytes + Number(length) - 1}\r\n`
    socket.write(`GET ${pathname} HTTP/1.1\r\nHost: bench\r\n${range}Connection: close\r\n\r\n`)
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => {
      // A short file that says so is complete to whoever reads it.
      const isComplete = bytes === lengthBytes
      isWrong ||= expectedBytes !== undefined && bytes !== expectedBytes
      resolve({ bytes, isComplete, isWrong, firstByteMs, readMs: performance.now() - beginMs })
    })
  })
}
