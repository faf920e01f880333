import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { openLedger } from '../../src/assemble/open-ledger.js'
import { verifyLedger } from '../../src/mirror/operations/verify-ledger.js'
import { download } from '../support/download.js'
import { MirrorProcess } from '../support/mirror-process.js'
import type { Fault, FileAsked } from '../zoo/faults.js'
import { startZooServer } from '../zoo/zoo-server.js'

export interface CampaignResult {
  readonly rounds: number
  readonly seed: number
  /** Downloads that ended complete, all of them checked. */
  readonly complete: number
  /** Bytes that were asked for again although the killed process had received them, per kill: the most, and in all. */
  readonly mostSentAgain: number
  readonly sentAgain: number
}

const CHUNK_BYTES = 1024 * 1024
const MIB = 1024 * 1024

/** A small generator with a seed, so that a campaign can be run again (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function bytesFrom(random: () => number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let index = 0; index < length; index += 4)
    bytes.writeUInt32LE((random() * 2 ** 32) >>> 0, Math.min(index, length - 4))
  return bytes
}

export function uuidFrom(random: () => number): string {
  const hex = bytesFrom(random, 16).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** Gives the bytes in small pieces, one at a time. */
export function drips(piecePauseMs: number, flip?: () => number | undefined): Fault {
  return {
    name: 'drips',
    isSurvivable: true,
    serve(asked: FileAsked) {
      const { response, start, end } = asked
      const flipped = flip?.()
      const file = flipped === undefined ? asked.file : Buffer.from(asked.file)
      if (flipped !== undefined) file[flipped % file.length]! ^= 1
      const range = { 'content-range': `bytes ${start}-${end - 1}/${file.length}` }
      response.writeHead(end - start < file.length ? 206 : 200, { 'content-length': end - start, ...range })
      const send = async () => {
        for (let position = start; position < end && !response.destroyed; position += 32 * 1024) {
          const piece = file.subarray(position, Math.min(end, position + 32 * 1024))
          await new Promise<void>((resolve) => response.write(piece, () => resolve()))
          await wait(piecePauseMs)
        }
        response.end()
      }
      void send()
    },
  }
}

/**
 * One large file behind a slow line, and a process killed again and again while it arrives. After every kill what is
 * asked for must begin where the process had got to, give or take one chunk.
 */
export async function resumeCampaign(rounds: number, seed: number): Promise<CampaignResult> {
  const random = seeded(seed)
  const directory = await mkdtemp(join(tmpdir(), 'imgapi-mirror-crash-'))
  const uuid = uuidFrom(random)
  const file = bytesFrom(random, 3 * MIB * Math.max(2, rounds))
  const server = await startZooServer({ images: { [uuid]: file }, fault: drips(1) })
  let [had, mostSentAgain, sentAgain] = [0, 0, 0]
  try {
    const settings = { upstreams: [{ name: 'slow', url: server.url }] }
    for (let round = 0; round < rounds; round++) {
      const mirror = await MirrorProcess.start(directory, settings)
      const asked = server.ranges(uuid).length
      const going = download(mirror.url, uuid)
      while (server.ranges(uuid).length === asked) await wait(5)
      const start = server.ranges(uuid)[asked]!.start
      sentAgain += Math.max(0, had - start)
      mostSentAgain = Math.max(mostSentAgain, had - start)
      await wait(random() * 120)
      // What the kernel's buffers hold it has not received: its own count is what matters.
      had = start + (await mirror.receivedBytes())
      await mirror.kill()
      await going
      await checkStore(directory)
    }
    server.behave()
    const mirror = await MirrorProcess.start(directory, settings)
    const outcome = await download(mirror.url, uuid)
    if (outcome.kind !== 'complete' || !outcome.bytes.equals(file))
      throw new Error(`seed ${seed}: the file did not arrive whole`)
    if ((await mirror.stop()) !== 0) throw new Error(`seed ${seed}: the mirror did not end well`)
    await checkStore(directory)
    return { rounds, seed, complete: 1, mostSentAgain, sentAgain }
  } finally {
    await server.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/**
 * Everything at once: files that arrive, are let go for want of room, come with wrong bytes and are mended, are looked
 * through in the background; and the process killed at any moment, its start-up included.
 */
export async function everythingCampaign(rounds: number, seed: number): Promise<CampaignResult> {
  const random = seeded(seed)
  const directory = await mkdtemp(join(tmpdir(), 'imgapi-mirror-crash-'))
  const files = Object.fromEntries(
    Array.from({ length: 8 }, () => [
      uuidFrom(random),
      bytesFrom(random, CHUNK_BYTES + Math.floor(random() * 3 * MIB)),
    ]),
  )
  const uuids = Object.keys(files)
  const origins = Object.fromEntries(
    uuids.flatMap((uuid, index) => (index % 3 === 0 ? [] : [[uuid, uuids[index - 1]!]])),
  )
  const flip = () => (random() < 0.2 ? Math.floor(random() * MIB) : undefined)
  const first = await startZooServer({ images: files, origins, fault: drips(1, flip) })
  const second = await startZooServer({ images: files, origins })
  let complete = 0
  try {
    const settings = {
      quota: '12MiB',
      scrub: { every: '1s', rate: '100MB/s' },
      upstreams: [
        { name: 'first', url: first.url },
        { name: 'second', url: second.url },
      ],
    }
    const ask = async (mirror: MirrorProcess) => {
      const uuid = uuids[Math.floor(random() * uuids.length)]!
      const outcome = await download(mirror.url, uuid)
      if (outcome.kind !== 'complete') return
      if (!outcome.bytes.equals(files[uuid]!)) throw new Error(`seed ${seed}: a complete answer was not the file`)
      complete++
    }
    for (let round = 0; round < rounds; round++) {
      const isStartKilled = random() < 0.2
      const mirror = await MirrorProcess.start(directory, settings, { isEager: isStartKilled })
      const asking = isStartKilled ? [] : Array.from({ length: 4 }, () => ask(mirror))
      await wait(random() * 700)
      await mirror.kill()
      await Promise.all(asking)
      await checkStore(directory)
    }
    const mirror = await MirrorProcess.start(directory, settings)
    for (const uuid of uuids) {
      // A client that had a wrong byte is cut, and asks again.
      let outcome = await download(mirror.url, uuid)
      for (let tries = 0; outcome.kind !== 'complete' && tries < 5; tries++) outcome = await download(mirror.url, uuid)
      if (outcome.kind !== 'complete' || !outcome.bytes.equals(files[uuid]!))
        throw new Error(`seed ${seed}: image ${uuid} cannot be had`)
    }
    if ((await mirror.stop()) !== 0) throw new Error(`seed ${seed}: the mirror did not end well`)
    await checkStore(directory)
    await checkListed(directory, files)
    return { rounds, seed, complete, mostSentAgain: 0, sentAgain: 0 }
  } finally {
    await Promise.all([first.close(), second.close()])
    await rm(directory, { recursive: true, force: true })
  }
}

/** With nobody to ask, everything that is listed can be had, with all it builds on. */
async function checkListed(directory: string, files: Readonly<Record<string, Buffer>>): Promise<void> {
  const mirror = await MirrorProcess.start(directory, { offline: true })
  const images = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string; origin?: string }[]
  const listed = new Set(images.map(({ uuid }) => uuid))
  for (const { uuid, origin } of images) {
    if (origin && !listed.has(origin)) throw new Error(`image ${uuid} is listed without its origin`)
    const outcome = await download(mirror.url, uuid)
    if (outcome.kind !== 'complete' || !outcome.bytes.equals(files[uuid]!))
      throw new Error(`listed image ${uuid} cannot be had`)
  }
  await mirror.stop()
}

export async function checkStore(directory: string): Promise<void> {
  await checkNames(directory)
  await checkLedger(directory)
}

/** A kill makes no ledger look changed; at most its end is torn, which is told and is no fault. */
async function checkLedger(directory: string): Promise<void> {
  const { faults, heads, isIntact, keyComplaint } = await verifyLedger(openLedger(join(directory, 'data')), {})
  if (!isIntact)
    throw new Error(`the ledger is not as it was written: ${JSON.stringify({ faults, heads, keyComplaint })}`)
}

/** Every name in the store is right: what `sha256sum` would say. */
async function checkNames(directory: string): Promise<void> {
  const blobs = join(directory, 'data', 'blobs')
  const entries = await readdir(blobs, { recursive: true, withFileTypes: true }).catch(() => [])
  for (const entry of entries) {
    if (!entry.isFile()) continue
    const hash = createHash('sha256')
    for await (const piece of createReadStream(join(entry.parentPath, entry.name))) hash.update(piece as Buffer)
    if (hash.digest('hex') !== entry.name) throw new Error(`blob ${entry.name} is not what its name says`)
  }
}
