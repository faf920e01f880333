// Runs in a worker thread: measures files, which may still be growing, so that the event loop has no part in it.
//
// Plain JavaScript with checked types, because a worker is started from a file: this one is the same file under `src/`
// (tests, tsx) and under `dist/`, and needs no loader in either.

import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'

/** @typedef {'sha256' | 'sha1' | 'md5'} Algorithm */

/**
 * What the main thread asks: `begin`, then `grown` any number of times (that many bytes can be read now), then `finish`
 * (that is all of it) or `cancel`.
 *
 * `digests` are taken of all that is read, from `startBytes` on, and of each chunk a SHA-256 if `takesChunks`; each is
 * told at once if `tellsChunks`.
 *
 * @typedef {object} BeginRequest
 * @property {number} id
 * @property {'begin'} kind
 * @property {string} path
 * @property {number} chunkBytes
 * @property {number} startBytes a multiple of `chunkBytes`
 * @property {readonly Algorithm[]} digests
 * @property {boolean} takesChunks
 * @property {boolean} tellsChunks
 *
 * @typedef {(
 *   | BeginRequest
 *   | { id: number, kind: 'grown' | 'finish', sizeBytes: number }
 *   | { id: number, kind: 'cancel' }
 * )} HashRequest
 *
 * @typedef {object} Measured
 * @property {Partial<Record<Algorithm, string>>} digests those asked for; lower-case hex
 * @property {string[]} chunks the SHA-256 of every `chunkBytes`, if asked for; the last one may be short
 *
 * @typedef {(
 *   | { id: number, kind: 'chunk', sha256: string }
 *   | { id: number, kind: 'measured', measured: Measured }
 *   | { id: number, kind: 'failed', message: string, code: string | undefined }
 * )} HashAnswer
 */

/** A file being measured. Holds its descriptor from `begin` on, so that renaming or removing the file does not matter. */
class Job {
  /** @param {BeginRequest} request */
  constructor(request) {
    this.id = request.id
    this.path = request.path
    this.chunkBytes = request.chunkBytes
    this.takesChunks = request.takesChunks
    this.tellsChunks = request.tellsChunks
    this.descriptor = openSync(request.path, 'r')
    this.hashes = request.digests.map((algorithm) => ({ algorithm, hash: createHash(algorithm) }))
    /** @type {string[]} */
    this.chunks = []
    this.measuredBytes = request.startBytes
    this.availableBytes = request.startBytes
    this.isWhole = false
  }

  /** How many bytes the next step takes: a whole chunk, or at the end what is left. */
  get nextBytes() {
    const readyBytes = this.availableBytes - this.measuredBytes
    if (readyBytes >= this.chunkBytes) return this.chunkBytes
    return this.isWhole ? readyBytes : 0
  }

  get isMeasured() {
    return this.isWhole && this.measuredBytes >= this.availableBytes
  }

  /** @param {Buffer} scratch of at least `chunkBytes` */
  measureNext(scratch) {
    const chunk = scratch.subarray(0, this.nextBytes)
    let filledBytes = 0
    while (filledBytes < chunk.length) {
      const position = this.measuredBytes + filledBytes
      const readBytes = readSync(this.descriptor, chunk, filledBytes, chunk.length - filledBytes, position)
      if (readBytes === 0) throw new Error(`${this.path} ends at ${position} of ${this.availableBytes} bytes`)
      filledBytes += readBytes
    }
    for (const { hash } of this.hashes) hash.update(chunk)
    this.measuredBytes += chunk.length
    if (!this.takesChunks) return
    const sha256 = createHash('sha256').update(chunk).digest('hex')
    this.chunks.push(sha256)
    if (this.tellsChunks) answer({ id: this.id, kind: 'chunk', sha256 })
  }

  /** @returns {Measured} */
  result() {
    /** @type {Partial<Record<Algorithm, string>>} */
    const digests = {}
    for (const { algorithm, hash } of this.hashes) digests[algorithm] = hash.digest('hex')
    return { digests, chunks: this.chunks }
  }

  close() {
    closeSync(this.descriptor)
  }
}

const port = parentPort
if (!port) throw new Error('this file is run as a worker thread')

/** @type {Map<number, Job>} */
const jobs = new Map()
let isTurning = false
let scratch = Buffer.alloc(0)

/** @param {HashAnswer} answer */
const answer = (answer) => port.postMessage(answer)

/**
 * @param {number} id
 * @param {unknown} error
 */
function fail(id, error) {
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
  answer({ id, kind: 'failed', message, code })
}

/** @param {Job} job */
function drop(job) {
  jobs.delete(job.id)
  job.close()
}

/** One chunk of every file that has one ready, then a look at the messages: no file waits for the end of another. */
function turn() {
  isTurning = false
  for (const job of jobs.values()) {
    try {
      if (job.nextBytes > 0) job.measureNext(scratch)
      if (!job.isMeasured) continue
      answer({ id: job.id, kind: 'measured', measured: job.result() })
    } catch (error) {
      fail(job.id, error)
    }
    drop(job)
  }
  wake()
}

function wake() {
  if (isTurning) return
  for (const job of jobs.values()) {
    if (job.nextBytes === 0 && !job.isMeasured) continue
    isTurning = true
    setImmediate(turn)
    return
  }
}

/** @param {HashRequest} request */
function handle(request) {
  if (request.kind === 'begin') {
    if (scratch.length < request.chunkBytes) scratch = Buffer.alloc(request.chunkBytes)
    try {
      jobs.set(request.id, new Job(request))
    } catch (error) {
      fail(request.id, error)
    }
    return
  }
  // A job that has failed is gone, and says no more.
  const job = jobs.get(request.id)
  if (!job) return
  if (request.kind === 'cancel') return drop(job)
  job.availableBytes = request.sizeBytes
  job.isWhole = request.kind === 'finish'
  wake()
}

port.on('message', handle)
