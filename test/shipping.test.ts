import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { prepare } from '../scripts/ready.mjs'
import { MirrorProcess } from './support/mirror-process.js'
import { temporaryDirectory } from './support/temporary.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')
/** How long a busy machine may build. */
const BUILD_LIMIT_MS = 300_000
const LIST_LIMIT_BYTES = 2 ** 26

interface Locked {
  readonly version: string
  readonly license: string
  readonly integrity: string
  readonly dev?: boolean
}

interface Component {
  readonly name: string
  readonly version: string
  readonly 'bom-ref': string
  readonly licenses: readonly [{ license?: { id?: string; name?: string }; expression?: string }]
  readonly hashes: readonly { alg: string; content: string }[]
}

/** What production needs, by its path under node_modules, from the lock file. */
async function shippedPackages(): Promise<[path: string, Locked][]> {
  const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8'))
  return Object.entries(packages as Record<string, Locked>).filter(([path, { dev }]) => path !== '' && !dev)
}

describe('the bill of materials', () => {
  const makeBill = async () =>
    (await run(process.execPath, ['scripts/sbom.mjs'], { cwd: root, maxBuffer: LIST_LIMIT_BYTES })).stdout

  it('names every package of production and no other, each with its license and checksum', async () => {
    const { components, dependencies } = JSON.parse(await makeBill()) as {
      components: Component[]
      dependencies: { ref: string; dependsOn: string[] }[]
    }
    const told = components.map(({ name, version, licenses: [{ license, expression }], hashes }) => ({
      name: `${name}@${version}`,
      license: license?.id ?? license?.name ?? expression,
      integrity: hashes.map(({ alg, content }) => [alg, Buffer.from(content, 'hex').toString('base64')].join('-')),
    }))
    const locked = (await shippedPackages()).map(([path, { version, license, integrity }]) => ({
      name: `${path.replace(/^.*node_modules\//, '')}@${version}`,
      license,
      integrity: [integrity.replace('sha512-', 'SHA-512-')],
    }))
    expect(locked.length).toBeGreaterThan(50)
    const byName = (one: { name: string }, other: { name: string }) => (one.name < other.name ? -1 : 1)
    expect(told.sort(byName)).toEqual(locked.sort(byName))
    // Ours, and each of them, and what they want is all here.
    expect(dependencies).toHaveLength(locked.length + 1)
    const references = new Set(components.map((each) => each['bom-ref']))
    expect(dependencies.flatMap(({ dependsOn }) => dependsOn).filter((ref) => !references.has(ref))).toEqual([])
  })

  it('is the same, byte for byte, whenever it is made', async () => {
    expect(await makeBill()).toBe(await makeBill())
  })
})

describe('the package', () => {
  let directory: string
  let elsewhere: string
  let archive: string
  let unpacked: string

  /** What `npm pack` makes of a clone; builds it first, if scripts are let run. */
  async function pack(clone: string, destination: string, flags: readonly string[], umask: string): Promise<string> {
    // By way of a shell, as Node cannot give its child another umask than its own.
    const command = ['-c', `umask ${umask} && exec npm pack --silent --pack-destination "$@"`, 'sh', destination]
    const { stdout } = await run('sh', [...command, ...flags], {
      cwd: clone,
      env: { ...process.env, TZ: 'Asia/Tokyo' },
    })
    return join(destination, stdout.trim().split('\n').at(-1)!)
  }

  beforeAll(async () => {
    expect(prepare()).toBe(true)
    directory = await mkdtemp(join(tmpdir(), 'imgapi-mirror-pack-'))
    elsewhere = await mkdtemp(join(tmpdir(), 'imgapi-mirror-clone-'))
    archive = await pack(root, directory, ['--ignore-scripts'], '022')
    await run('tar', ['-xzf', archive, '-C', directory])
    unpacked = join(directory, 'package')
  }, BUILD_LIMIT_MS)
  afterAll(() => Promise.all([directory, elsewhere].map((path) => rm(path, { recursive: true, force: true }))))

  const filesOf = async (path: string) =>
    (await readdir(path, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name).slice(path.length + 1))

  it('is the same bytes, whoever builds it, where and when', { timeout: BUILD_LIMIT_MS }, async () => {
    // Copied, so that every file has another time.
    const sources = ['src', 'scripts', 'config', 'deploy', 'docs', 'README.md', 'CHANGELOG.md', 'ARCHITECTURE.md']
    for (const name of [...sources, 'package.json', 'package-lock.json', 'tsconfig.json', '.npmrc']) {
      await cp(join(root, name), join(elsewhere, name), { recursive: true })
    }
    await symlink(join(root, 'node_modules'), join(elsewhere, 'node_modules'))
    await writeFile(join(elsewhere, 'mirror.log'), 'of somebody who tried it here\n')
    const other = await pack(elsewhere, elsewhere, [], '077')
    const sha256 = async (path: string) =>
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex')
    expect(await sha256(other)).toBe(await sha256(archive))
  })

  it('has what git has of config, deploy and docs, what was built, and nothing else', async () => {
    const { stdout } = await run('git', ['ls-files', 'config', 'deploy', 'docs'], { cwd: root })
    const sources = await filesOf(join(root, 'src'))
    const built = sources.map((file) => `dist/${file.replace(/\.ts$/, '.js')}`)
    const expected = [
      ...['package.json', 'README.md', 'CHANGELOG.md', 'ARCHITECTURE.md'],
      ...stdout.trim().split('\n'),
      ...built.flatMap((file) => [file, `${file}.map`]),
    ]
    expect((await filesOf(unpacked)).sort()).toEqual(expected.sort())
  })

  it('names no directory of the machine it was built on', async () => {
    const naming: string[] = []
    for (const file of await filesOf(unpacked)) {
      const text = await readFile(join(unpacked, file), 'utf8')
      if ([root, tmpdir(), join(root, '..')].some((path) => text.includes(`${path}/`))) naming.push(file)
      if (!file.endsWith('.map')) continue
      const { sources, sourceRoot } = JSON.parse(text) as { sources: string[]; sourceRoot: string }
      if ([...sources, sourceRoot].some((source) => source.startsWith('/'))) naming.push(file)
    }
    expect(naming).toEqual([])
  })

  it('runs with the packages of production alone', async () => {
    for (const [path] of await shippedPackages()) {
      const nested = join(root, path, 'node_modules')
      // Those inside of others have paths of their own. Some are for browsers only, or for other systems, and may be absent.
      const filter = (source: string) => !source.startsWith(nested)
      await cp(join(root, path), join(unpacked, path), { recursive: true, dereference: true, filter })
    }
    const data = await temporaryDirectory()
    const mirror = await MirrorProcess.start(data, { upstreams: [] }, { installedIn: unpacked })
    onTestFinished(() => mirror.kill())
    const answer = await fetch(`${mirror.url}/ping`)
    expect(answer.status).toBe(200)
    expect(await answer.json()).toMatchObject({ ping: 'pong' })
    expect(await mirror.stop()).toBe(0)
    const { version, bin } = JSON.parse(await readFile(join(unpacked, 'package.json'), 'utf8'))
    expect((await run(process.execPath, [join(unpacked, bin['imgapi-mirror']), '--version'])).stdout.trim()).toBe(
      version,
    )
  })
})
