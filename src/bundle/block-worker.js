// Runs in a worker thread: hashes and parity of blocks that lie in memory shared with the main thread.
//
// Plain JavaScript with checked types, because a worker is started from a file: this one is the same file under `src/`
// (tests, tsx) and under `dist/`, and needs no loader in either.

import { createHash, hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { ReedSolomon } from '../parts/reed-solomon.js'

/**
 * `hash`: the SHA-256 of each block of `bytes`; with a `stream`, of all bytes of that stream, too, told at `isEnd`.
 * `drop`: a stream that is not wanted any more.
 * `encode`: parity of `dataShards` shards of `shardBytes`, which lie one after the other, those of parity after them. Every shard is some blocks
 * long; answered are the hashes of all their blocks. Of blocks that are shorter than others, `lengths` says so; one of 0 bytes has a hash of zeros.
 * `reconstruct`: fills in the shards of data that are not present.
 *
 * @typedef {{ kind: 'hash', bytes: Uint8Array, blockBytes: number, stream: number | undefined, isEnd: boolean }} HashQuestion
 * @typedef {{ kind: 'drop', stream: number }} DropQuestion
 * @typedef {object} CodeQuestion
 * @property {'encode'} kind
 * @property {Uint8Array} shards
 * @property {number} dataShards
 * @property {number} parityShards
 * @property {number} blockBytes
 * @property {Uint32Array} lengths of the blocks of data, shard by shard
 *
 * @typedef {object} RepairQuestion
 * @property {'reconstruct'} kind
 * @property {Uint8Array} shards
 * @property {number} dataShards
 * @property {number} parityShards
 * @property {number} blockBytes
 * @property {readonly (readonly boolean[])[]} isPresent for each block of a shard, and in it for each shard
 *
 * @typedef {HashQuestion | DropQuestion | CodeQuestion | RepairQuestion} BlockQuestion
 * @typedef {{ hashes: Uint8Array, sha256?: string | undefined, isDone?: boolean[] }} BlockAnswer
 */

const HASH_BYTES = 32

const port = parentPort
if (!port) throw new Error('this file is run as a worker thread')

/** @type {Map<number, import('node:crypto').Hash>} */
const streams = new Map()
/** @type {{ dataShards: number, parityShards: number, code: ReedSolomon } | undefined} */
let coding

/**
 * @param {number} dataShards
 * @param {number} parityShards
 */
function codeOf(dataShards, parityShards) {
  if (coding?.dataShards !== dataShards || coding.parityShards !== parityShards) {
    coding = { dataShards, parityShards, code: new ReedSolomon(dataShards, parityShards) }
  }
  return coding.code
}

/**
 * @param {HashQuestion} question
 * @returns {BlockAnswer}
 */
function hashBlocks({ bytes, blockBytes, stream, isEnd }) {
  const hashes = new Uint8Array(Math.ceil(bytes.length / blockBytes) * HASH_BYTES)
  for (let at = 0, block = 0; at < bytes.length; at += blockBytes, block++) {
    hashes.set(hash('sha256', bytes.subarray(at, at + blockBytes), 'buffer'), block * HASH_BYTES)
  }
  if (stream === undefined) return { hashes }
  const whole = streams.get(stream) ?? createHash('sha256')
  streams.set(stream, whole)
  whole.update(bytes)
  if (!isEnd) return { hashes }
  streams.delete(stream)
  return { hashes, sha256: whole.digest('hex') }
}

/**
 * @param {{ shards: Uint8Array, dataShards: number, parityShards: number }} question
 */
function shardsOf({ shards, dataShards, parityShards }) {
  const shardBytes = shards.length / (dataShards + parityShards)
  const all = Array.from({ length: dataShards + parityShards }, (_, shard) =>
    shards.subarray(shard * shardBytes, (shard + 1) * shardBytes),
  )
  return { all, shardBytes }
}

/**
 * @param {CodeQuestion} question
 * @returns {BlockAnswer}
 */
function encode(question) {
  const { dataShards, parityShards, blockBytes, lengths } = question
  const { all, shardBytes } = shardsOf(question)
  codeOf(dataShards, parityShards).encode(all.slice(0, dataShards), all.slice(dataShards))
  const blocks = shardBytes / blockBytes
  const hashes = new Uint8Array(all.length * blocks * HASH_BYTES)
  for (const [index, shard] of all.entries()) {
    for (let block = 0; block < blocks; block++) {
      const length = index < dataShards ? (lengths[index * blocks + block] ?? 0) : blockBytes
      if (length === 0) continue
      const start = block * blockBytes
      hashes.set(hash('sha256', shard.subarray(start, start + length), 'buffer'), (index * blocks + block) * HASH_BYTES)
    }
  }
  return { hashes }
}

/**
 * @param {RepairQuestion} question
 * @returns {BlockAnswer}
 */
function reconstruct(question) {
  const { dataShards, parityShards, blockBytes, isPresent } = question
  const { all } = shardsOf(question)
  const code = codeOf(dataShards, parityShards)
  const isDone = isPresent.map((present, block) =>
    code.reconstruct(
      all.map((shard) => shard.subarray(block * blockBytes, (block + 1) * blockBytes)),
      present,
    ),
  )
  return { hashes: new Uint8Array(), isDone }
}

/**
 * @param {BlockQuestion} question
 * @returns {BlockAnswer}
 */
function answer(question) {
  if (question.kind === 'hash') return hashBlocks(question)
  if (question.kind === 'encode') return encode(question)
  if (question.kind === 'reconstruct') return reconstruct(question)
  streams.delete(question.stream)
  return { hashes: new Uint8Array() }
}

// Answers come in the order of the questions. What fails here is a bug, and ends the thread: whoever waits hears of it.
port.on('message', (/** @type {BlockQuestion} */ question) => port.postMessage(answer(question)))
