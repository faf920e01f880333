import { randomUUID } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { forEachConcurrently } from '../../src/parts/for-each-concurrently.js'
import { madeUpBytes } from '../../test/support/made-up-bytes.js'
import { startTrap } from '../../test/support/upstreams/serve.js'
import { FAULTS, type Fault } from '../../test/zoo/faults.js'
import { startZooServer, type ZooServer } from '../../test/zoo/zoo-server.js'
import { readAll } from '../load/readers.js'
import type { Bench, Result } from '../question.js'
import { startMirror } from '../servers/mirror.js'
import { startNginx } from '../servers/nginx.js'

export const question =
  'How often are wrong bytes delivered as a complete file, over the whole zoo of misbehaving upstreams?'
export const wish = 'never'

/** More than the tail that is held back, so that readers have something in hand before the end is known. */
const FILE_BYTES = 300_000
const READERS = 8
const CAGES_AT_A_TIME = 6
const QUICK_EVERY = 8
const TIMEOUTS = { connect: '2s', headers: '1s', stall: '500ms' }

/** One way to misbehave, and who has to do with it. The same file twice would be found in the store the second time. */
interface Cage {
  readonly fault: Fault
  readonly alone: CagedImage
  readonly befriended: CagedImage
  readonly proxied: CagedImage
}

interface CagedImage {
  readonly uuid: string
  readonly bytes: Buffer
  /** The right bytes, for readers to compare. */
  readonly file: string
}

interface Tally {
  readings: number
  complete: number
  failed: number
  /** By the name of the fault. */
  readonly corrupt: Map<string, number>
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, say, use } = bench
  const faults = isQuick ? FAULTS.filter((_, place) => place % QUICK_EVERY === 0) : FAULTS
  const cages = await buildCages(join(directory, 'files'), faults)
  const trap = use(await startTrap())
  const bad: ZooServer[] = []
  for (const { fault, alone, befriended, proxied } of cages) {
    bad.push(use(await startZooServer({ images: imagesOf([alone, befriended, proxied]), fault, forbidden: trap.url })))
  }
  const good = use(await startZooServer({ images: imagesOf(cages.map(({ befriended }) => befriended)) }))
  const settings = {
    upstreams: [
      ...bad.map(({ url }, place) => ({ name: `bad-${place}`, url, timeouts: TIMEOUTS })),
      { name: 'good', url: good.url, timeouts: TIMEOUTS },
    ],
  }
  const readCages = async (urlOf: (place: number) => string, imageOf: (cage: Cage) => CagedImage): Promise<Tally> => {
    const tally: Tally = { readings: 0, complete: 0, failed: 0, corrupt: new Map() }
    await forEachConcurrently(cages.entries(), CAGES_AT_A_TIME, async ([place, cage]) => {
      const { uuid, file } = imageOf(cage)
      const reads = await readAll(`${urlOf(place)}/images/${uuid}/file`, { count: READERS, file })
      tally.readings += READERS
      tally.complete += reads.complete
      tally.failed += reads.failed
      if (reads.corrupt > 0) tally.corrupt.set(cage.fault.name, reads.corrupt)
    })
    return tally
  }

  say(`${cages.length} upstreams that misbehave, each alone and beside a good one`)
  const mirrorDirectory = join(directory, 'mirror')
  const first = await startMirror(mirrorDirectory, settings)
  const alone = await readCages(
    () => first.url,
    (cage) => cage.alone,
  ).finally(() => first.close())
  const second = await startMirror(mirrorDirectory, settings)
  use(second)
  const befriended = await readCages(
    () => second.url,
    (cage) => cage.befriended,
  )
  const again = await readCages(
    () => second.url,
    (cage) => cage.befriended,
  )
  await second.close()
  say('nginx proxy_cache before the same ones')
  const nginx = use(await startCagedNginx(join(directory, 'nginx'), bad))
  const proxied = await readCages(
    (place) => `${nginx.url}/${place}`,
    (cage) => cage.proxied,
  )
  say('the same upstreams, when they behave again')
  for (const zoo of bad) zoo.behave()
  const third = await startMirror(mirrorDirectory, settings)
  const later = await readCages(
    () => third.url,
    (cage) => cage.alone,
  ).finally(() => third.close())

  const ours = [alone, befriended, again, later]
  const wrong = ours.reduce((sum, tally) => sum + corruptOf(tally), 0)
  return {
    tables: [
      {
        columns: ['server', 'upstreams', 'readings', 'complete', 'refused or cut', 'corrupt'],
        rows: [
          ['imgapi-mirror', `${cages.length} that misbehave`, ...cells(alone)],
          ['imgapi-mirror', 'the same, beside a good one', ...cells(befriended)],
          ['imgapi-mirror', 'the same, asked again', ...cells(again)],
          ['imgapi-mirror', 'the first, once they behave', ...cells(later)],
          ['nginx proxy_cache', `${cages.length} that misbehave`, ...cells(proxied)],
        ],
      },
    ],
    verdicts: [{ wish, found: `${wrong} times`, isMet: wrong === 0 }],
    checks: [
      { what: 'no client of the mirror got wrong bytes as a complete file', isRight: wrong === 0 },
      {
        what: 'beside a good upstream everybody who asked again was served',
        isRight: again.complete === again.readings,
      },
      { what: 'everybody was served once the upstreams behaved', isRight: later.complete === later.readings },
      { what: 'nobody was seen where a redirect must not lead', isRight: trap.connectionCount === 0 },
    ],
    notes: [
      `${READERS} clients at once ask for each file, of ${FILE_BYTES} bytes. Complete is what has the length that was announced, since that is all that HTTP tells a client.`,
      `nginx verifies nothing, and is not meant to; it passed on what these upstreams did: ${[...proxied.corrupt.keys()].join('; ') || 'none of it'}.`,
    ],
  }
}

async function buildCages(directory: string, faults: readonly Fault[]): Promise<Cage[]> {
  await mkdir(directory, { recursive: true })
  let seed = 0
  const image = async (): Promise<CagedImage> => {
    const uuid = randomUUID()
    const bytes = madeUpBytes(FILE_BYTES, ++seed)
    const file = join(directory, uuid)
    await writeFile(file, bytes)
    return { uuid, bytes, file }
  }
  const cages: Cage[] = []
  for (const fault of faults) {
    cages.push({ fault, alone: await image(), befriended: await image(), proxied: await image() })
  }
  return cages
}

function imagesOf(images: readonly CagedImage[]): Record<string, Buffer> {
  return Object.fromEntries(images.map(({ uuid, bytes }) => [uuid, bytes]))
}

function corruptOf({ corrupt }: Tally): number {
  return [...corrupt.values()].reduce((sum, count) => sum + count, 0)
}

function cells(tally: Tally): string[] {
  return [tally.readings, tally.complete, tally.failed, corruptOf(tally)].map(String)
}

/** nginx before every one of them, by the path it is asked for, with a cache and the patience that we have. */
async function startCagedNginx(directory: string, zoo: readonly ZooServer[]) {
  const places = zoo.map(
    ({ url }, place) => `location /${place}/ {
      proxy_pass ${url}/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_connect_timeout 2s; proxy_read_timeout 1s; proxy_intercept_errors off;
      proxy_cache kept; proxy_cache_lock on; proxy_cache_valid 200 1d;
    }`,
  )
  return await startNginx(
    directory,
    places.join('\n'),
    `proxy_cache_path ${directory}/kept keys_zone=kept:10m max_size=1g use_temp_path=off;`,
  )
}
