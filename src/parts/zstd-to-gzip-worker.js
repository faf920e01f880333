// Runs in a worker thread: unpacks zstd and packs it again as gzip, so that the event loop has no part in it.
//
// Plain JavaScript with checked types, because a worker is started from a file: this one is the same file under `src/`
// (tests, tsx) and under `dist/`, and needs no loader in either.

import { createHash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { createGzip } from 'node:zlib'
import { Decompress } from 'fzstd'

/**
 * The main thread sends `packed`, an answer to each `more` (without bytes: that was all), and `taken`, an answer to each
 * `bytes`: nothing piles up on either side.
 *
 * @typedef {{ kind: 'packed', bytes: Uint8Array | undefined } | { kind: 'taken' }} UnpackRequest
 *
 * @typedef {(
 *   | { kind: 'more' }
 *   | { kind: 'bytes', bytes: Uint8Array }
 *   | { kind: 'done', unpackedBytes: number, unpackedSha256: string }
 *   | { kind: 'failed', message: string }
 * )} UnpackAnswer
 */

/**
 * So much is unpacked at a time. A block of 128 KiB takes 4 bytes at least: of one slice come 32 MiB at most, whoever made
 * it, before anybody can say that it is too much.
 */
const SLICE_BYTES = 1024
/** zlib's own default: 9 takes three times as long for 1 % less. */
const GZIP_LEVEL = 6
const MAGIC = [0x28, 0xb5, 0x2f, 0xfd]

const port = parentPort
if (!port) throw new Error('this file is run as a worker thread')
const { maxUnpackedBytes } = /** @type {{ maxUnpackedBytes: number }} */ (workerData)

/** @param {UnpackAnswer} answer */
const answer = (answer) => port.postMessage(answer)

/** @type {((request: UnpackRequest) => void) | undefined} */
let onRequest
port.on('message', (/** @type {UnpackRequest} */ request) => onRequest?.(request))

/**
 * @param {UnpackAnswer} question
 * @returns {Promise<UnpackRequest>}
 */
function ask(question) {
  return new Promise((resolve) => {
    onRequest = resolve
    answer(question)
  })
}

// What is asked for and what is given are turns of one conversation: the next question waits for the answer to the last.
/** @type {Promise<unknown>} */
let turn = Promise.resolve()

/**
 * @param {UnpackAnswer} question
 * @returns {Promise<UnpackRequest>}
 */
function inTurn(question) {
  const answered = turn.then(() => ask(question))
  turn = answered
  return answered
}

async function* slices() {
  for (;;) {
    const request = await inTurn({ kind: 'more' })
    if (request.kind !== 'packed' || !request.bytes) return
    const { bytes } = request
    for (let start = 0; start < bytes.length; start += SLICE_BYTES) yield bytes.subarray(start, start + SLICE_BYTES)
  }
}

const hash = createHash('sha256')
let unpackedBytes = 0

/** @param {AsyncIterable<Uint8Array>} source */
async function* unpack(source) {
  /** @type {Uint8Array[]} */
  let blocks = []
  let magicBytes = 0
  const unpacker = new Decompress((block) => blocks.push(block))
  function* taken() {
    for (const block of blocks) {
      unpackedBytes += block.length
      if (unpackedBytes > maxUnpackedBytes) throw new Error(`it unpacks to more than ${maxUnpackedBytes} bytes`)
      hash.update(block)
      yield block
    }
    blocks = []
  }
  for await (const slice of source) {
    for (let place = 0; magicBytes < MAGIC.length && place < slice.length; place++, magicBytes++) {
      if (slice[place] !== MAGIC[magicBytes]) throw new Error('it is not compressed with zstd')
    }
    unpacker.push(slice)
    yield* taken()
  }
  if (magicBytes < MAGIC.length) throw new Error('it is not compressed with zstd')
  unpacker.push(new Uint8Array(0), true)
  yield* taken()
}

/** @param {AsyncIterable<Buffer>} source */
async function give(source) {
  // A copy, as zlib goes on writing into the memory around it.
  for await (const bytes of source) await inTurn({ kind: 'bytes', bytes: new Uint8Array(bytes) })
}

try {
  await pipeline(slices, unpack, createGzip({ level: GZIP_LEVEL }), give)
  answer({ kind: 'done', unpackedBytes, unpackedSha256: hash.digest('hex') })
} catch (error) {
  answer({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
} finally {
  port.close()
}
