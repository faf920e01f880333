import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { PrewarmAnswer, PrewarmPolicyStatus } from '../../src/mirror/operations/prewarm-answers.js'
import { download } from '../support/download.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { startZooServer } from '../zoo/zoo-server.js'
import { bytesFrom, type CampaignResult, checkStore, drips, seeded, uuidFrom } from './campaign.js'

const MIB = 1024 * 1024
const IMAGES = 8
/** What a kill may cost: twice what the store writes down at once, for what was under way in memory. */
const LOST_BYTES = MIB

/**
 * Chains of images that are wanted before anyone asks, behind a slow line, and a process killed again and again while they
 * arrive. What was here stays here: each run goes on where the one before it was, and in the end all of it is here, though
 * nobody asked.
 */
export async function prewarmCampaign(rounds: number, seed: number): Promise<CampaignResult> {
  const random = seeded(seed)
  const directory = await mkdtemp(join(tmpdir(), 'imgapi-mirror-crash-'))
  const sizeBytes = Math.ceil((rounds * MIB) / IMAGES)
  const files = Object.fromEntries(
    Array.from({ length: IMAGES }, () => [uuidFrom(random), bytesFrom(random, sizeBytes + Math.floor(random() * MIB))]),
  )
  const uuids = Object.keys(files)
  const origins = Object.fromEntries(
    uuids.flatMap((uuid, place) => (place % 3 === 0 ? [] : [[uuid, uuids[place - 1]!]])),
  )
  const allBytes = Object.values(files).reduce((sum, file) => sum + file.length, 0)
  const server = await startZooServer({ images: files, origins, fault: drips(2) })
  const asked = () => uuids.reduce((sum, uuid) => sum + server.ranges(uuid).length, 0)
  let [missingBytes, sentAgain, mostSentAgain] = [allBytes, 0, 0]
  try {
    const settings = {
      upstreams: [{ name: 'slow', url: server.url }],
      prewarm: [{ name: 'all', match: ['os=smartos'] }],
    }
    for (let round = 0; round < rounds && missingBytes > 0; round++) {
      const before = asked()
      const mirror = await MirrorProcess.start(directory, settings)
      while (asked() === before && (await statusOf(mirror)).state !== 'complete') await wait(10)
      await wait(random() * 150)
      const receivedBytes = await mirror.receivedBytes()
      const { images, missingBytes: stillMissingBytes } = await statusOf(mirror)
      await mirror.kill()
      const againBytes = stillMissingBytes + receivedBytes - missingBytes
      if (againBytes > LOST_BYTES)
        throw new Error(`seed ${seed}, round ${round}: ${againBytes} bytes were fetched that were here already`)
      sentAgain += Math.max(0, againBytes)
      mostSentAgain = Math.max(mostSentAgain, againBytes)
      missingBytes = images.wanted === uuids.length ? stillMissingBytes : missingBytes
      await checkStore(directory)
    }
    server.behave()
    const mirror = await MirrorProcess.start(directory, settings)
    while ((await statusOf(mirror)).images.held < uuids.length) await wait(20)
    await mirror.stop()
    const offline = await MirrorProcess.start(directory, { offline: true })
    for (const uuid of uuids) {
      const outcome = await download(offline.url, uuid)
      if (outcome.kind !== 'complete' || !outcome.bytes.equals(files[uuid]!))
        throw new Error(
          `seed ${seed}: image ${uuid} was not here when nobody could be asked (${outcome.kind}, ${outcome.status})`,
        )
    }
    if ((await offline.stop()) !== 0) throw new Error(`seed ${seed}: the mirror did not end well`)
    await checkStore(directory)
    return { rounds, seed, complete: uuids.length, mostSentAgain, sentAgain }
  } finally {
    await server.close()
    await rm(directory, { recursive: true, force: true })
  }
}

async function statusOf({ operatorUrl }: MirrorProcess): Promise<PrewarmPolicyStatus> {
  const answer = (await (await fetch(`${operatorUrl}/api/prewarm`)).json()) as PrewarmAnswer
  return answer.policies[0]!
}
