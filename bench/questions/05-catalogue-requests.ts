import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inTurns, median, ratios, rounded, spread } from '../figures.js'
import { type Requests, requestAll } from '../load/wrk.js'
import { isInstalled } from '../machine.js'
import type { Bench, Result, Verdict } from '../question.js'
import { startDsapid } from '../servers/dsapid.js'
import { startMirror } from '../servers/mirror.js'
import { startNginx } from '../servers/nginx.js'
import { startOrigin } from '../servers/origin.js'
import { startSdcImgapi } from '../servers/sdc-imgapi.js'
import type { ServerProcess } from '../servers/server-process.js'

export const question = 'How many requests for manifests are answered, of all and of one?'
export const wish =
  'the list of 1,000: at least 0.8 of nginx serving the same bytes; one manifest: no slower than dsapid, and at least 8 times sdc-imgapi'

const [OURS, NGINX, DSAPID, SDC_IMGAPI] = ['imgapi-mirror', 'nginx', 'dsapid', 'sdc-imgapi'] as const

export async function run(bench: Bench): Promise<Result> {
  if (!isInstalled('wrk')) {
    return { tables: [], verdicts: [], checks: [], notes: ["Not asked: Debian's package wrk is not installed."] }
  }
  const { directory, isQuick, reference } = bench
  const origin = bench.use(
    await startOrigin(join(directory, 'origin'), { count: isQuick ? 50 : 1000, sizeBytes: 1024 }),
  )
  const mirror = bench.use(
    await startMirror(join(directory, 'mirror'), { upstreams: [{ name: 'origin', url: origin.url }] }),
  )
  const { uuid } = origin.images[500 % origin.images.length]!
  const nginx = bench.use(await startCopy(join(directory, 'nginx'), mirror.url, uuid))
  const manifests = (await (await fetch(`${origin.url}/images`)).json()) as Readonly<Record<string, unknown>>[]
  const servers: Record<string, Served> = { [OURS]: mirror, [NGINX]: nginx }
  if (reference.dsapid) {
    servers[DSAPID] = bench.use(await startDsapid(join(directory, 'dsapid'), reference.dsapid, manifests))
  }
  if (reference.sdcImgapi) {
    servers[SDC_IMGAPI] = bench.use(await startSdcImgapi(join(directory, 'sdc-imgapi'), reference, manifests))
  }

  const rows: string[][] = []
  const perSecond = new Map<string, readonly number[]>()
  let failed = 0
  for (const [what, path] of [
    ['list', '/images'],
    ['one', `/images/${uuid}`],
  ] as const) {
    const seconds = isQuick ? 1 : 4
    const answers: Record<string, Answers[]> = await inTurns(
      bench,
      Object.fromEntries(Object.entries(servers).map(([name, server]) => [name, () => ask(server, path, seconds)])),
    )
    const speeds = (name: string) => answers[name]!.map((each) => each.perSecond)
    for (const [name, all] of Object.entries(answers)) {
      const share = spread(ratios(speeds(name), speeds(NGINX)))
      rows.push([
        what,
        name,
        spread(speeds(name)),
        share,
        spread(all.map(({ p99Ms }) => p99Ms)),
        spread(all.map(({ cpuMicros }) => cpuMicros)),
      ])
      perSecond.set(`${what} ${name}`, speeds(name))
    }
    failed += answers[OURS]!.reduce((sum, each) => sum + each.failed, 0)
  }
  const verdict = (wished: string, what: string, rival: string, least: number): Verdict[] => {
    const theirs = perSecond.get(`${what} ${rival}`)
    if (!theirs) return []
    const found = median(ratios(perSecond.get(`${what} ${OURS}`)!, theirs))
    return [{ wish: wished, found: rounded(found), isMet: found >= least }]
  }
  const absent = [DSAPID, SDC_IMGAPI].filter((name) => !(name in servers))
  return {
    tables: [{ columns: ['of', 'server', 'requests/s', 'by nginx', 'p99, ms', 'CPU µs each'], rows }],
    verdicts: [
      ...verdict('the list at least 0.8 of nginx', 'list', NGINX, 0.8),
      ...verdict('one manifest no slower than dsapid', 'one', DSAPID, 1),
      ...verdict('one manifest at least 8 times sdc-imgapi', 'one', SDC_IMGAPI, 8),
    ],
    checks: [{ what: 'the mirror answered every request', isRight: failed === 0 }],
    notes: [
      `wrk, 16 connections that stay open, ${origin.images.length} manifests; nothing compressed. nginx serves copies of the mirror's answers.`,
      ...absent.map((name) => `Not at hand: ${name} (--${name}).`),
    ],
  }
}

interface Served {
  readonly url: string
  readonly process: ServerProcess
}

interface Answers extends Requests {
  /** What each cost the server: hardly depends on who else uses the machine. */
  readonly cpuMicros: number
}

async function ask({ process, url }: Served, path: string, seconds: number): Promise<Answers> {
  const before = await process.cpuSeconds()
  const answers = await requestAll(url + path, { seconds })
  const cpuSeconds = (await process.cpuSeconds()) - before
  return { ...answers, cpuMicros: (cpuSeconds / (answers.perSecond * seconds)) * 1e6 }
}

/** nginx with what the mirror answers, as files. */
async function startCopy(directory: string, mirrorUrl: string, uuid: string) {
  await mkdir(join(directory, 'root'), { recursive: true })
  const copy = async (path: string, file: string) => {
    const answer = await fetch(mirrorUrl + path)
    if (!answer.ok) throw new Error(`the mirror answers ${answer.status} to ${path}`)
    await writeFile(join(directory, 'root', file), Buffer.from(await answer.arrayBuffer()))
  }
  await copy('/images', 'list.json')
  await copy(`/images/${uuid}`, 'one.json')
  return await startNginx(
    directory,
    `root ${join(directory, 'root')}; default_type application/json;
     location = /images { try_files /list.json =404; }
     location = /images/${uuid} { try_files /one.json =404; }`,
  )
}
