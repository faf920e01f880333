import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { madeUpBytes } from '../../test/support/made-up-bytes.js'
import { inTurns, median, ratios, rounded, type Samples, spread } from '../figures.js'
import { readAll } from '../load/readers.js'
import type { Bench, Result } from '../question.js'
import { startMirror } from '../servers/mirror.js'
import { startCachingNginx } from '../servers/nginx.js'
import { type OriginImage, startOrigin } from '../servers/origin.js'
import type { ServerProcess } from '../servers/server-process.js'

export const question = 'How fast is a cold file when the line is no limit?'
export const wish = 'at least 0.9 of curl | tee >(sha1sum) >(sha256sum) >(md5sum) > file'

const shell = promisify(execFile)

interface Fetch {
  readonly seconds: number
  /** `undefined` where nobody counted. */
  readonly cpuSeconds: number | undefined
  readonly isRight: boolean
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, rounds } = bench
  const sizeBytes = (isQuick ? 16 : 256) * 2 ** 20
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count: rounds, sizeBytes }))
  const upstreams = [{ name: 'origin', url: origin.url }]
  const mirror = bench.use(await startMirror(join(directory, 'mirror'), { upstreams }))
  const nginx = bench.use(await startCachingNginx(join(directory, 'nginx'), origin.url))
  const imageOf = (round: number) => origin.images[round]!
  const read = async (url: string, { filePath }: OriginImage, server?: ServerProcess): Promise<Fetch> => {
    const before = await server?.cpuSeconds()
    const { corrupt, failed, seconds } = await readAll(url + filePath)
    const after = await server?.cpuSeconds()
    const cpuSeconds = before === undefined || after === undefined ? undefined : after - before
    return { seconds, cpuSeconds, isRight: corrupt === 0 && failed === 0 }
  }
  const fetches = await inTurns(bench, {
    'imgapi-mirror': (round) => read(mirror.url, imageOf(round), mirror.process),
    'shell pipeline': (round) => throughShell(origin.url, imageOf(round), join(directory, 'piped')),
    'nginx proxy_cache': (round) => read(nginx.url, imageOf(round), nginx.process),
    'direct, nothing kept': (round) => read(origin.url, imageOf(round)),
  })
  const speeds = (name: keyof typeof fetches): Samples => fetches[name].map(({ seconds }) => sizeBytes / seconds / 1e6)
  const rows = (Object.keys(fetches) as (keyof typeof fetches)[]).map((name) => [
    name,
    spread(speeds(name)),
    spread(ratios(speeds(name), speeds('shell pipeline'))),
    spread(ratios(speeds(name), speeds('nginx proxy_cache'))),
    fetches[name][0]!.cpuSeconds === undefined
      ? ''
      : spread(fetches[name].map(({ cpuSeconds }) => (cpuSeconds! / sizeBytes) * 1e9)),
  ])
  const found = median(ratios(speeds('imgapi-mirror'), speeds('shell pipeline')))
  return {
    tables: [
      { columns: ['who', 'MB/s', 'by the pipeline', 'by nginx', 'CPU s per GB'], rows },
      { columns: ['limit of this machine', 'MB/s'], rows: await limits(directory, isQuick) },
    ],
    verdicts: [{ wish, found: rounded(found), isMet: found >= 0.9 }],
    checks: [
      {
        what: 'every file came whole',
        isRight: Object.values(fetches).every((all) => all.every((one) => one.isRight)),
      },
    ],
    notes: [
      `One client, a file of ${sizeBytes / 2 ** 20} MiB, new each round. The mirror and the pipeline compute sha1, sha256 and md5; nginx and a direct download verify nothing. The mirror takes a SHA-256 of every 1 MiB besides, by which a kept file is checked part by part.`,
    ],
  }
}

async function throughShell(originUrl: string, { filePath, sha1 }: OriginImage, to: string): Promise<Fetch> {
  // The last pipe ends when every sum has written its line.
  const script = '{ curl -sf "$0" | tee >(sha1sum) >(sha256sum) >(md5sum) > "$1"; } | cat'
  const startMs = performance.now()
  const { stdout } = await shell('bash', ['-c', script, originUrl + filePath, to])
  const seconds = (performance.now() - startMs) / 1000
  await rm(to)
  return { seconds, cpuSeconds: undefined, isRight: stdout.includes(sha1) }
}

/** What one thread can do of each part of the work. */
async function limits(directory: string, isQuick: boolean): Promise<string[][]> {
  const bytes = madeUpBytes(2 ** 20, 1)
  const times = isQuick ? 16 : 256
  const speedOf = (seconds: number) => rounded((bytes.length * times) / seconds / 1e6)
  const hashing = (...algorithms: string[]) => {
    const hashes = algorithms.map((algorithm) => createHash(algorithm))
    const startMs = performance.now()
    for (let time = 0; time < times; time++) for (const hash of hashes) hash.update(bytes)
    return speedOf((performance.now() - startMs) / 1000)
  }
  const file = await open(join(directory, 'written'), 'w')
  const startMs = performance.now()
  for (let time = 0; time < times; time++) await file.write(bytes)
  const writtenSeconds = (performance.now() - startMs) / 1000
  await file.sync()
  const syncedSeconds = (performance.now() - startMs) / 1000
  await file.close()
  return [
    ['sha1, one thread', hashing('sha1')],
    ['sha256, one thread', hashing('sha256')],
    ['md5, one thread', hashing('md5')],
    ['sha1, sha256, md5 and a sha256 of each MiB, one thread', hashing('sha1', 'sha256', 'md5', 'sha256')],
    ['writing', speedOf(writtenSeconds)],
    ['writing and syncing', speedOf(syncedSeconds)],
  ]
}
