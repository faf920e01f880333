import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { cp, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ExportPlan, ExportRequest, ExportResult } from '../../src/bundle/bundles.js'
import { Exporter } from '../../src/bundle/exporter.js'
import type { BundleIndex } from '../../src/images/bundle/bundle-index.js'
import { parseBundleIndex } from '../../src/images/bundle/parse-bundle-index.js'
import { parseVolumeIndex } from '../../src/images/bundle/parse-volume-index.js'
import type { JobDetails } from '../../src/mirror/jobs.js'
import type { VacuumAnswer } from '../../src/mirror/operations/image-answers.js'
import { PausedFile } from '../mirror/paused-upstream.js'
import { dockerImage, gzipLayer, tarOf, zstdLayer } from '../support/docker-images.js'
import { makeImage, sha256 } from '../support/made-up-images.js'
import { startMemoryRegistry } from '../support/memory-registry.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { canMount, mountSmallDisk } from '../support/small-disk.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'

const MIB = 1024 * 1024
const BASE = '11111111-1111-4111-8111-111111111111'
const MIDDLE = '22222222-2222-4222-8222-222222222222'
const LEAF = '33333333-3333-4333-8333-333333333333'
const NEW = '44444444-4444-4444-8444-444444444444'
const OURS = '55555555-5555-4555-8555-555555555555'
const ORPHAN = '66666666-6666-4666-8666-666666666666'
const NOBODYS = '99999999-9999-4999-8999-999999999999'

const bytesOf = (seed: number, length: number) => Buffer.alloc(length, `image ${seed}: nothing to see here; `)
const IMAGES = [
  makeImage({ uuid: BASE, name: 'base-64', version: '21.4.0' }, bytesOf(1, 3_000_000)),
  makeImage({ uuid: MIDDLE, name: 'middle', version: '1', origin: BASE }, bytesOf(2, 1_500_000)),
  makeImage({ uuid: LEAF, name: 'leaf', version: '2', origin: MIDDLE }, bytesOf(3, 700_001)),
  makeImage({ uuid: NEW, name: 'base-64', version: '23.4.1' }, bytesOf(4, 200_000)),
  makeImage({ uuid: OURS, name: 'ours', public: false }, bytesOf(5, 1000)),
  makeImage({ uuid: ORPHAN, name: 'orphan', origin: NOBODYS }, bytesOf(6, 1000)),
]

async function startSide(
  site: string,
  images: readonly ServedImage[],
  { intercept, ...more }: { readonly intercept?: PausedFile['intercept'] } & Record<string, unknown> = {},
): Promise<RunningMirror> {
  const upstream = await startSdcImgapi({ images: [...images], ...(intercept && { intercept }) })
  onTestFinished(() => upstream.close())
  const settings = { upstreams: [{ name: 'central', url: upstream.url }], bundles: { site, ...more } }
  const mirror = await startMirror({ ...settings, scrub: { every: 'never' } })
  await mirror.settled()
  return mirror
}

async function post<Answer>(mirror: RunningMirror, path: string, body: object): Promise<Answer> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${mirror.operatorUrl}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  const answer = (await response.json()) as Answer & { code?: string; message?: string }
  if (!response.ok) throw new Error(`${answer.code}: ${answer.message}`)
  return answer
}

async function done<Result>(mirror: RunningMirror, path: string, body: object): Promise<Result> {
  const { id } = await post<{ id: string }>(mirror, path, body)
  const events = await fetch(`${mirror.operatorUrl}/api/jobs/${id}/events`)
  await events.text()
  const job = (await (await fetch(`${mirror.operatorUrl}/api/jobs/${id}`)).json()) as JobDetails
  if (job.state !== 'done') throw new Error(`${job.error?.code}: ${job.error?.message}`)
  return job.result as Result
}

const plan = (mirror: RunningMirror, request: Partial<ExportRequest>) =>
  post<ExportPlan>(mirror, '/api/bundles/plan', request)
const exported = (mirror: RunningMirror, request: Partial<ExportRequest>) =>
  done<ExportResult>(mirror, '/api/bundles/export', request)
const pull = (mirror: RunningMirror, ...uuids: string[]) => done(mirror, '/api/import', { uuids })

async function inventoryOf(mirror: RunningMirror, query = ''): Promise<string> {
  return ((await (await fetch(`${mirror.operatorUrl}/api/inventory${query}`)).json()) as { text: string }).text
}

function readIndex(directory: string): Promise<BundleIndex> {
  return parseBundleIndex(readFileSync(join(directory, 'bundle.json')))
}

/** Every file below a directory, by path, with what tells whether it was written again. */
function filesBelow(directory: string): Record<string, string> {
  const paths = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()
  const files = paths.filter((path) => statSync(join(directory, path)).isFile())
  const facts = (path: string) => {
    const { ino, mtimeMs } = statSync(join(directory, path))
    return `${ino} ${mtimeMs} ${sha256(readFileSync(join(directory, path)))}`
  }
  return Object.fromEntries(files.map((path) => [path, facts(path)]))
}

describe('an export', () => {
  it('is a directory that sha256sum, minisign and imgadm understand, and what the plan had said', async () => {
    const mirror = await startSide('open side', IMAGES)
    const out = await temporaryDirectory()
    const first = await plan(mirror, { select: ['name=leaf'] })
    expect(first).toMatchObject({ id: null, pulledBytes: 5_200_001, freeBytes: null, warnings: [] })
    const result = await exported(mirror, { select: ['name=leaf'], out })
    expect(result.images.map(({ uuid, why }) => [uuid, why])).toEqual([
      [BASE, 'origin'],
      [MIDDLE, 'origin'],
      [LEAF, 'selected'],
    ])
    expect(result.pulledBytes).toBe(5_200_001)

    const directory = join(out, result.volumes[0]!.directory)
    expect(sha256(readFileSync(join(directory, 'bundle.json')))).toBe(result.id)
    const sums = readdirSync(join(directory, 'files')).map((name) => `${name}  files/${name}\n`)
    execFileSync('sha256sum', ['-c', '-'], { cwd: directory, input: sums.join('') })
    for (const name of ['bundle.json', 'volume.json']) {
      const key = join(mirror.dataDirectory, 'keys', 'mirror.pub')
      execFileSync('minisign', ['-V', '-p', key, '-m', name], { cwd: directory, stdio: 'pipe' })
    }
    for (const { manifest, files } of IMAGES.slice(0, 3)) {
      const text = await (await fetch(`${mirror.url}/images/${manifest.uuid}`)).text()
      expect(readFileSync(join(directory, 'manifests', `${manifest.uuid}.json`), 'utf8').trim()).toBe(text.trim())
      expect(readFileSync(join(directory, 'files', sha256(files[0]!))).equals(files[0]!)).toBe(true)
    }

    // Now that all is held, the plan is exact.
    const second = await plan(mirror, { select: ['name=leaf'], out })
    const { writtenBytes, ...told } = result
    expect({ ...told, pulledBytes: 0, freeBytes: null }).toEqual({
      ...second,
      freeBytes: null,
      images: second.images.map((image, place) => ({ ...image, pulledBytes: result.images[place]!.pulledBytes })),
    })
    const listed = parseVolumeIndex(readFileSync(join(directory, 'volume.json'))).files
    const takenBytes = Object.keys(filesBelow(directory)).reduce(
      (sum, path) => sum + statSync(join(directory, path)).size,
      0,
    )
    expect(listed.map(({ path }) => path)).toContain('README.txt')
    expect(takenBytes).toBeLessThanOrEqual(writtenBytes)
    expect(writtenBytes).toBeLessThan(takenBytes * 1.2)
  })

  it('writes nothing again when it is repeated, and goes on where files are missing', async () => {
    const mirror = await startSide('open', IMAGES)
    const out = await temporaryDirectory()
    const request = { select: ['name=leaf'], out }
    const first = await exported(mirror, request)
    const directory = join(out, first.volumes[0]!.directory)
    const before = filesBelow(directory)
    // What is known besides changes meanwhile.
    await pull(mirror, NEW)
    await post(mirror, '/api/audit/head', {})
    expect((await exported(mirror, request)).id).toBe(first.id)
    expect(filesBelow(directory)).toEqual(before)
    expect(await readdir(out)).toHaveLength(1)

    const elsewhere = await temporaryDirectory()
    await mkdir(join(elsewhere, first.volumes[0]!.directory))
    await cp(join(directory, 'files'), join(elsewhere, first.volumes[0]!.directory, 'files'), { recursive: true })
    await exported(mirror, { ...request, out: elsewhere })
    const sums = (of: string) => Object.entries(filesBelow(of)).map(([path, facts]) => [path, facts.split(' ').at(-1)])
    expect(sums(join(elsewhere, first.volumes[0]!.directory))).toEqual(sums(directory))
  })

  it('has only what is missing at the site whose inventory it answers', async () => {
    const [open, closed] = [await startSide('open', IMAGES), await startSide('closed', IMAGES)]
    await pull(closed, BASE)
    await pull(open, LEAF, NEW)
    const out = await temporaryDirectory()
    const inventory = await inventoryOf(closed)
    const request = { select: ['os=smartos'], inventory, out }
    await expect(exported(open, request)).rejects.toThrow(/BUNDLE_UNTRUSTED|cannot be trusted/)
    const result = await exported(open, { ...request, isUntrustedAllowed: true })
    expect(result.alreadyThere).toBe(1)
    expect(result.images.map(({ uuid }) => uuid)).toEqual([NEW, MIDDLE, LEAF])
    const index = await readIndex(join(out, result.volumes[0]!.directory))
    expect(index.requires).toMatchObject([{ uuid: BASE, name: 'base-64', version: '21.4.0' }])
    expect(index.for).toMatchObject({ site: 'closed', key: undefined })
    const readme = readFileSync(join(out, result.volumes[0]!.directory, 'README.txt'), 'utf8')
    expect(readme).toContain('closed, whose inventory nobody trusted had signed\n')
    expect(index.pieces.map((piece) => piece.sha256)).not.toContain(sha256(IMAGES[0]!.files[0]!))
    expect(result.warnings).toEqual([
      '1 image that is not public was left out; whoever wants them in a bundle names them by uuid, or selects public=false',
      `left out orphan 1.0.0 (${ORPHAN}): its origin ${NOBODYS} is not found`,
    ])
  })

  it('gives a site what it wants, and believes the keys it was told to', async () => {
    const closed = await startSide('closed', [], { wanted: ['newest 1 of name=~base-64'] })
    const key = join(closed.dataDirectory, 'keys', 'mirror.pub')
    const open = await startSide('open', IMAGES, { trustedKeys: [key] })
    const inventory = await inventoryOf(closed)
    const planned = await plan(open, { inventory })
    expect(planned.images.map(({ uuid, why }) => [uuid, why])).toEqual([[NEW, 'wanted']])
    const asked = await inventoryOf(closed, '?select=name%3Dleaf&select=os%3Dsmartos&latest=1')
    expect((await plan(open, { inventory: asked })).images.map(({ uuid }) => uuid)).toEqual([NEW, BASE, MIDDLE, LEAF])
    const mistyped = inventory.replace('site closed', 'site clothed')
    await expect(plan(open, { inventory: mistyped })).rejects.toThrow(/BUNDLE_INVALID|line 2/)
  })

  it('takes the newest of each name, and what is not public when it is asked for by name', async () => {
    const mirror = await startSide('open', IMAGES)
    const uuids = async (request: Partial<ExportRequest>) =>
      (await plan(mirror, request)).images.map(({ uuid }) => uuid)
    expect(await uuids({ select: ['name=base-64'], latest: 1 })).toEqual([NEW])
    expect(await uuids({ select: ['public=false'] })).toEqual([OURS])
    expect(await uuids({ select: [OURS, NEW] })).toEqual([NEW, OURS])
    expect(await uuids({ select: [OURS, NEW, 'name=ours'] })).toEqual([OURS])
    // Without a selection, what is held: nothing yet.
    expect(await uuids({})).toEqual([])
    await pull(mirror, NEW)
    expect(await uuids({})).toEqual([NEW])
    expect((await plan(mirror, { select: [NOBODYS] })).warnings).toEqual([
      `left out ${NOBODYS}: image ${NOBODYS} not found`,
    ])
  })

  it('is split into volumes, of which those are written that are asked for', async () => {
    const mirror = await startSide('open', IMAGES)
    await pull(mirror, LEAF)
    const request = { select: ['name=leaf'], volumeBytes: 3 * MIB, parityPercent: 0 }
    const planned = await plan(mirror, request)
    expect(planned.volumes.map(({ volume }) => volume)).toEqual([1, 2])
    const [one, two] = [await temporaryDirectory(), await temporaryDirectory()]
    await exported(mirror, { ...request, volumes: [2], out: two })
    expect(await readdir(two)).toEqual([planned.volumes[1]!.directory])
    await exported(mirror, { ...request, volumes: [1], out: one })
    const base = IMAGES[0]!.files[0]!
    const pieces = [
      ...filesOf(join(one, planned.volumes[0]!.directory)),
      ...filesOf(join(two, planned.volumes[1]!.directory)),
    ]
    const ofBase = pieces.filter(({ name }) => name.startsWith(sha256(base)))
    const inOrder = ofBase.sort((a, b) => startOf(a.name) - startOf(b.name)).map(({ bytes }) => bytes)
    expect(Buffer.concat(inOrder).equals(base)).toBe(true)
    await expect(plan(mirror, { ...request, volumes: [3] })).rejects.toThrow('there is no volume 3: the bundle has 2')
    await expect(plan(mirror, { ...request, volumeBytes: 1000 })).rejects.toThrow('too small')
  })

  it('counts the bundles of a series, the same one once', async () => {
    const mirror = await startSide('open', IMAGES)
    await pull(mirror, BASE)
    const out = await temporaryDirectory()
    const first = await exported(mirror, { series: 'weekly', out })
    expect((await exported(mirror, { series: 'weekly', out })).id).toBe(first.id)
    await pull(mirror, LEAF)
    const second = await exported(mirror, { series: 'weekly', sinceBundle: first.id!.slice(0, 12), out })
    const index = await readIndex(join(out, second.volumes[0]!.directory))
    expect(index.series).toEqual({ name: 'weekly', number: 2, previous: first.id })
    expect(index.images.map(({ manifest }) => manifest.uuid)).toEqual([MIDDLE, LEAF])
    expect(index.requires.map(({ uuid }) => uuid)).toEqual([BASE])
    // Whoever has the second has the first.
    expect((await plan(mirror, { sinceBundle: second.id! })).images).toEqual([])
    expect((await plan(mirror, { sinceMs: Date.now() + 1000 })).images).toEqual([])
    expect((await plan(mirror, { sinceMs: 0 })).images).toHaveLength(3)
    await expect(plan(mirror, { sinceBundle: 'ffffffff' })).rejects.toThrow('no bundle ffffffff was made here')
  })

  it('keeps from leaving what it is to pack, as long as it pulls the rest', async () => {
    const paused = new PausedFile(NEW, IMAGES[3]!.files[0]!, 1000)
    const mirror = await startSide('open', IMAGES, { intercept: paused.intercept })
    await pull(mirror, BASE)
    const out = await temporaryDirectory()
    const exporting = exported(mirror, { select: [BASE, NEW], out })
    await until(() => paused.requestCount > 0)
    const vacuum = () => post<VacuumAnswer>(mirror, '/api/vacuum', { bytes: 1_000_000_000 })
    expect((await vacuum()).images).toEqual([])
    paused.resume()
    expect((await exporting).images).toHaveLength(2)
    expect((await vacuum()).images).toHaveLength(2)
  })

  it('is told to the ledger, image by image', async () => {
    const mirror = await startSide('open', IMAGES)
    const out = await temporaryDirectory()
    const { id } = await exported(mirror, { select: [NEW], out })
    const log = await fetch(`${mirror.operatorUrl}/api/audit/log?image=${NEW}`)
    const { items } = (await log.json()) as { items: { kind: string; facts: object }[] }
    expect(items.at(-1)).toMatchObject({ kind: 'exported', facts: { bundle: id, volumes: [1], of: 1, images: [NEW] } })
  })

  it('is only for whoever is on this machine, and names a place that there is', async () => {
    const exporter = new Exporter({ mirror: { store: {} } } as never)
    const [eve, request] = [
      { name: 'eve', isLocal: false },
      { select: [NEW], out: '/tmp' },
    ]
    expect(() => exporter.startExport(request, eve)).toThrow(/for whoever is on it/)
    await expect(exporter.plan(request, eve, AbortSignal.abort())).rejects.toThrow(/for whoever is on it/)
    const mirror = await startSide('open', IMAGES)
    await expect(exported(mirror, { select: [NEW], out: '/nowhere/at/all' })).rejects.toThrow('QUERY_INVALID')
    await expect(exported(mirror, { select: ['nam=base'], out: '/tmp' })).rejects.toThrow('did you mean name')
  })

  it.skipIf(!canMount)('begins nothing on a medium that has too little room, and says how much it lacks', async () => {
    const mirror = await startSide('open', IMAGES)
    await pull(mirror, LEAF)
    const out = await mountSmallDisk(4)
    expect((await plan(mirror, { out })).warnings).toEqual([expect.stringContaining(`${out} lacks room for`)])
    await expect(exported(mirror, { out })).rejects.toThrow('MEDIUM_FULL')
    expect(await readdir(out)).toEqual([])
  })

  it('takes along what clients of Docker need, layers as they are in the registry, too', async () => {
    const [shared, own, odd] = [gzipLayer('shared'), gzipLayer('own'), zstdLayer('odd')]
    const diffIds = ['shared', 'odd'].map((name) => `sha256:${sha256(tarOf(name, Buffer.from(name)))}`)
    const registry = await startMemoryRegistry({
      'org/app:latest': dockerImage([shared, own]),
      'org/odd:1': dockerImage([shared, odd], { rootfs: { type: 'layers', diff_ids: diffIds } }, true),
    })
    onTestFinished(() => registry.close())
    const upstream = {
      name: 'hub',
      type: 'docker',
      url: registry.url,
      images: ['org/app:latest', 'org/odd:1'],
      recompress: 'gzip',
    }
    const mirror = await startMirror({ upstreams: [upstream], bundles: { site: 'open' }, scrub: { every: 'never' } })
    await mirror.settled()
    const listed = async () =>
      (await (await fetch(`${mirror.url}/images?type=docker`)).json()) as { uuid: string; tags: object }[]
    await until(async () => (await listed()).length === 3)
    const out = await temporaryDirectory()
    const result = await exported(mirror, { select: ['type=docker'], out })
    expect(result.warnings).toEqual([])
    const directory = join(out, result.volumes[0]!.directory)
    const { docker, images } = await readIndex(directory)
    expect(images).toHaveLength(3)
    expect(docker.tags.map(({ repository, tag }) => `${repository}:${tag}`)).toEqual(['org/app:latest', 'org/odd:1'])
    // Of each image a manifest and a config.
    expect(docker.objects).toHaveLength(4)
    for (const { digest } of docker.objects) {
      expect(sha256(readFileSync(join(directory, 'docker', digest.hex)))).toBe(digest.hex)
    }
    expect(docker.layers.map((layer) => `sha256:${layer.sha256}`)).toEqual([odd.digest])
    for (const { digest } of [shared, own, odd]) {
      expect(`sha256:${sha256(readFileSync(join(directory, 'files', digest.slice(7))))}`).toBe(digest)
    }
  })
})

function filesOf(directory: string): { name: string; bytes: Buffer }[] {
  const files = join(directory, 'files')
  return readdirSync(files).map((name) => ({ name, bytes: readFileSync(join(files, name)) }))
}

/** Of `<sha256>.<start>-<end>`. */
function startOf(name: string): number {
  return Number(/\.(\d+)-/.exec(name)?.[1] ?? 0)
}
