import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, cp, mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../scripts/free-port.mjs'
import { download } from '../support/download.js'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..', '..')
const text = readFileSync(join(root, 'deploy', 'container', 'Containerfile'), 'utf8')
/** What it says, by stage; comments gone, continued lines joined. */
const [build, image] = text
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll('\\\n', ' ')
  .split(/^(?=FROM )/m)
  .map((stage) => stage.trim().split(/\n+/))
  .filter(([first]) => first !== '') as [string[], string[]]
const said = (stage: readonly string[], word: string) =>
  stage.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1))

/** What is copied into the image, from where in the clone to where below WORKDIR or the root. */
const copied = said(image, 'COPY').map((words) => {
  const [from, to] = words.replace('--from=build /opt/imgapi-mirror/', '').split(' ')
  return { from: from!, to: to === './' ? from! : to! }
})

describe('the Containerfile', () => {
  it('takes what there is, and what .dockerignore lets it have', () => {
    const admitted = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n')
    const sources = [...said(build, 'COPY'), ...said(image, 'COPY').filter((words) => !words.startsWith('--from'))]
    const paths = sources.flatMap((words) => words.split(' ').slice(0, -1))
    expect(paths.length).toBeGreaterThan(5)
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([])
    const isAdmitted = (path: string) =>
      admitted.some((line) => line === `!${path}` || path.startsWith(`${line.slice(1)}/`))
    expect(paths.filter((path) => !isAdmitted(path))).toEqual([])
  })

  it('makes a small image for a user without rights, who can be looked after', () => {
    for (const [first] of [build, image])
      expect(first).toMatch(/^FROM docker\.io\/library\/node:\d+-bookworm-slim( AS build)?$/)
    expect(said(image, 'USER')).toEqual(['10001:10001'])
    expect(said(image, 'VOLUME')).toEqual(['/data'])
    expect(said(image, 'HEALTHCHECK')[0]).toContain('CMD ["node", "deploy/container/health.mjs"]')
    // In this form no shell stands between the container and the mirror, and signals arrive.
    expect(said(image, 'ENTRYPOINT')).toEqual(['["node", "dist/main.js"]'])
    expect(text).not.toMatch(/^(ADD|MAINTAINER) |:latest|sudo|apt-get/m)
  })
})

/** Its file system, as a container has it: a root that cannot be written to, one volume, a user without rights. */
const CONTAINED = `set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -o remount,bind,ro "$ROOT"
mount --bind "$DATA" "$DATA"
mount -o remount,bind,ro /
cd "$ROOT"
exec setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"`

const isPossible = spawnSync('unshare', ['-m', 'sh', '-c', 'mount --make-rprivate / && setpriv --version']).status === 0

describe.skipIf(!isPossible)(`what is in the container${isPossible ? '' : ' (only root may make one like it)'}`, () => {
  it('runs, serves and is healthy, on a root that it cannot write to', async () => {
    const layout = await temporaryDirectory()
    await chmod(layout, 0o755)
    for (const { from, to } of copied.filter((each) => each.from !== 'node_modules')) {
      await mkdir(dirname(join(layout, to)), { recursive: true })
      await cp(join(root, from), join(layout, to), { recursive: true })
    }
    await copyProductionPackages(layout)
    const data = await temporaryDirectory()
    await run('chown', ['10001:10001', data])
    const made = makeImage()
    const upstream = await startUpstream({ images: [made] })

    const operator = `127.0.0.1:${await freePort()}`
    const environment = {
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      ...{ NODE_ENV: 'production', ROOT: layout, DATA: data },
      ...{ IMGAPI_MIRROR_DATA: data, IMGAPI_MIRROR_LISTEN: '127.0.0.1:0', IMGAPI_MIRROR_OPERATOR: operator },
      IMGAPI_MIRROR_UPSTREAMS_SMARTOS_URL: upstream.url,
    }
    const config = said(image, 'CMD')[0]!.match(/"([^"]+config\.yaml)"/)![1]!
    const command = ['node', 'dist/main.js', 'serve', '--config', join(layout, config)]
    const child = spawn('unshare', ['-m', 'sh', '-c', CONTAINED, 'sh', ...command], {
      env: environment,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let url = ''
    createInterface({ input: child.stdout }).on('line', (line) => {
      url = /"clients: (http:[^"]+)"/.exec(line)?.[1] ?? url
    })
    await expect.poll(() => url, { timeout: 20_000 }).not.toBe('')

    const status = await readFile(`/proc/${child.pid}/status`, 'utf8')
    expect(status).toMatch(/^Uid:\t10001\t10001/m)
    expect(status).toMatch(/^CapBnd:\t0+$/m)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    const answer = await download(url, uuidOf(made))
    expect(answer.bytes.equals(made.files[0]!)).toBe(true)

    const health = () => run('node', [join(layout, 'deploy/container/health.mjs')], { env: environment })
    expect((await health()).stdout).toContain('ready')
    child.kill('SIGTERM')
    expect((await once(child, 'exit'))[0]).toBe(0)
    await expect(health()).rejects.toMatchObject({ code: 1 })
  })
})

/** As `npm prune --omit=dev` leaves them. */
async function copyProductionPackages(layout: string): Promise<void> {
  const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean }>
  }
  const paths = Object.keys(packages).filter(
    (path) => path !== '' && !packages[path]!.dev && existsSync(join(root, path)),
  )
  for (const path of paths) await cp(join(root, path), join(layout, path), { recursive: true, dereference: true })
}
