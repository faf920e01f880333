import { randomBytes, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { expect, it, onTestFinished } from 'vitest'
import type { ExportResult } from '../../../../src/bundle/bundles.js'
import { Importer } from '../../../../src/bundle/importer.js'
import { ENDPOINTS } from '../../../../src/http/operator/api/endpoints.js'
import { type JobDetails, type JobSummary, Jobs } from '../../../../src/mirror/jobs.js'
import { Adoption } from '../../../../src/mirror/operations/adoption.js'
import type {
  AncestryAnswer,
  ImageDetails,
  ImageRow,
  Page,
  RefreshAnswer,
  UpstreamCheck,
  VacuumAnswer,
} from '../../../../src/mirror/operations/image-answers.js'
import { silentLog } from '../../../../src/parts/log.js'
import { madeUpImage, writeMadeUpBundle } from '../../../bundle/made-up-bundle.js'
import { uuid } from '../../../images/manifests.js'
import { blobPath, flipBit } from '../../../mirror/keeping/damage.js'
import { PausedFile } from '../../../mirror/paused-upstream.js'
import { madeUpBytes } from '../../../support/made-up-bytes.js'
import { makeImage, sha256, uuidOf } from '../../../support/made-up-images.js'
import { startMirror } from '../../../support/running-mirror.js'
import { temporaryDirectory } from '../../../support/temporary.js'
import { startSdcImgapi } from '../../../support/upstreams/sdc-imgapi.js'
import type { ServedImage, ServeOptions } from '../../../support/upstreams/serve.js'
import { answered, ask, follow, nameOf } from './api-client.js'

const KIB = 1024

/** A base, two images that build on it, and one that stands alone. */
async function makeRig(settings: Record<string, unknown> = {}, { intercept }: Pick<ServeOptions, 'intercept'> = {}) {
  const base = makeImage({ name: 'base', version: '1.0.0' }, randomBytes(300 * KIB))
  const left = makeImage({ name: 'left', origin: uuidOf(base) }, randomBytes(100 * KIB))
  const right = makeImage({ name: 'right', origin: uuidOf(base) }, randomBytes(50 * KIB))
  const alone = makeImage({ name: 'alone', os: 'linux', type: 'lx-dataset' }, randomBytes(10 * KIB))
  const images = [base, left, right, alone]
  const upstream = await startSdcImgapi({ images, ...(intercept && { intercept }) })
  onTestFinished(() => upstream.close())
  const mirror = await startMirror({
    scrub: { every: 'never' },
    ...settings,
    upstreams: [{ name: 'u', url: upstream.url }],
  })
  await mirror.settled()
  const { operatorUrl: url } = mirror
  const asked = (image: ServedImage) =>
    upstream.requests.filter((each) => each.url.includes(`${uuidOf(image)}/file`)).length
  const pull = async (...wanted: ServedImage[]) => {
    const { body } = await ask<JobSummary>(url, 'POST', '/api/import', { uuids: wanted.map(uuidOf) })
    return (await follow(url, body)).at(-1)!
  }
  const listed = async (query = '') => {
    const { body } = await ask<Page<ImageRow>>(url, 'GET', `/api/images${query}`)
    return body.items.map(({ name }) => name)
  }
  const read = async (image: ServedImage) => {
    const response = await fetch(`${mirror.url}/images/${uuidOf(image)}/file`)
    return Buffer.from(await response.arrayBuffer()).equals(image.files[0]!)
  }
  return { mirror, upstream, images, url, base, left, right, alone, asked, pull, listed, read }
}

it('tells machines what it can do, as it is written down in docs/', async () => {
  const { operatorUrl } = await startMirror()
  const document = (await (await fetch(`${operatorUrl}/api/openapi.json`)).json()) as { paths: object }
  const written = JSON.parse(await readFile(new URL('../../../../docs/openapi.json', import.meta.url), 'utf8'))
  expect(document).toEqual(written)
  const described = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
  )
  expect(described.toSorted()).toEqual(ENDPOINTS.map(nameOf).toSorted())
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/(\w+)\/(\w+)"/g)]
  const { components } = document as unknown as { components: Record<string, Record<string, unknown>> }
  expect(references.filter(([, kind, name]) => !components[kind!]?.[name!])).toEqual([])
})

it('says what is wrong with a request, parameter by parameter', async () => {
  const { operatorUrl } = await startMirror()
  expect(await ask(operatorUrl, 'GET', '/api/jobs?limit=0&colour=red')).toMatchObject({
    status: 422,
    body: { code: 'InvalidParameter', errors: [{ field: 'limit' }, { field: 'colour', code: 'NotAllowed' }] },
  })
  const filter = await ask<{ message: string }>(operatorUrl, 'GET', '/api/images?filter=nmae%3Dbase')
  expect(filter).toMatchObject({ status: 422, body: { errors: [{ field: 'filter' }] } })
  expect(filter.body.message).toMatch(/did you mean name\?/)
  expect(await ask(operatorUrl, 'POST', '/api/import', { uuids: ['nonsense'] })).toMatchObject({ status: 422 })
  expect(await ask(operatorUrl, 'POST', '/api/scrub', { surprise: 1 })).toMatchObject({ status: 422 })
  expect(await ask(operatorUrl, 'GET', '/api/images/nonsense')).toMatchObject({ status: 422 })
  expect(await ask(operatorUrl, 'GET', `/api/images/${randomUUID()}`)).toMatchObject({ status: 404 })
  expect(await ask(operatorUrl, 'POST', '/api/refresh', { upstreams: ['nobody'] })).toMatchObject({ status: 404 })
  expect(await ask(operatorUrl, 'GET', '/api/jobs/nonsense')).toMatchObject({ status: 404 })
  expect(await ask(operatorUrl, 'GET', '/api/nonsense')).toMatchObject({ status: 404 })
  const wrong = await fetch(`${operatorUrl}/api/jobs`, { method: 'PUT' })
  expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'HEAD, GET'])
})

it('tells how the mirror is, as /status does', async () => {
  const { url, alone, images, listed, pull } = await makeRig()
  await pull(alone)
  expect(await listed()).toHaveLength(images.length)
  const { body } = await ask(url, 'GET', '/api/status')
  expect(body).toMatchObject({
    imagesListed: 4,
    imagesHeld: 1,
    upstreams: [{ name: 'u', state: 'reachable', images: 4 }],
  })
  // What the disk has free changes by what others do.
  const withoutFree = (json: unknown) => JSON.parse(JSON.stringify(json).replace(/"freeBytes":\d+/, '"freeBytes":0'))
  expect(withoutFree(body)).toEqual(withoutFree(await (await fetch(`${url}/status`)).json()))
})

it('lists images in order, narrowed by filters, page by page', async () => {
  const { url, listed, pull, alone } = await makeRig()
  expect(await listed()).toEqual(['alone', 'base', 'left', 'right'])
  expect(await listed('?filter=os%3Dlinux')).toEqual(['alone'])
  expect(await listed('?held=true')).toEqual([])
  await pull(alone)
  expect(await listed('?held=true')).toEqual(['alone'])
  expect(await listed('?held=false')).toEqual(['base', 'left', 'right'])
  const pages: string[][] = []
  for (let marker: string | null = ''; marker !== null; ) {
    const query = marker && `&marker=${marker}`
    const page: Page<ImageRow> = (await ask<Page<ImageRow>>(url, 'GET', `/api/images?limit=3${query}`)).body
    pages.push(page.items.map(({ name }) => name))
    marker = page.next
  }
  expect(pages).toEqual([['alone', 'base', 'left'], ['right']])
})

it('pulls images with all they build on, shared origins once, and tells how far it is', async () => {
  const { url, base, left, right, asked, pull, read } = await makeRig()
  const ancestry = () => ask<AncestryAnswer>(url, 'GET', `/api/images/${uuidOf(left)}/ancestry`)
  expect((await ancestry()).body).toMatchObject({ missing: null, broken: null, bytesToPull: 400 * KIB })
  const job = await pull(left, right)
  expect(job).toMatchObject({
    kind: 'import',
    state: 'done',
    totalBytes: 450 * KIB,
    doneBytes: 450 * KIB,
    itemCount: 3,
    itemsEnded: 3,
    result: { images: 3, alreadyHeld: 0, pulled: 3, pulledBytes: 450 * KIB },
  })
  expect([base, left, right].map(asked)).toEqual([1, 1, 1])
  expect((await ancestry()).body).toMatchObject({ bytesToPull: 0 })
  expect((await ancestry()).body.images.map(({ name, isHeld }) => [name, isHeld])).toEqual([
    ['left', true],
    ['base', true],
  ])
  expect((await pull(right)).result).toMatchObject({ images: 2, alreadyHeld: 2, pulled: 0 })
  expect(await read(left)).toBe(true)
  expect([base, left, right].map(asked)).toEqual([1, 1, 1])
  const { body } = await ask<Page<JobSummary>>(url, 'GET', '/api/jobs?kind=import&limit=1')
  expect(body.items).toHaveLength(1)
  expect((await ask<JobDetails>(url, 'GET', `/api/jobs/${job.id}`)).body.items).toHaveLength(3)
})

it('pulls what it can, and fails with what could not be had', async () => {
  const { pull, alone, listed } = await makeRig()
  const job = await pull(makeImage(), alone)
  expect(job).toMatchObject({ state: 'failed', error: { code: 'IMAGE_UNKNOWN' }, itemsEnded: 2 })
  expect(await listed('?held=true')).toEqual(['alone'])
})

it('ends a pull that is cancelled, and what it was fetching', async () => {
  const image = makeImage({ name: 'slow' }, randomBytes(100 * KIB))
  const paused = new PausedFile(uuidOf(image), image.files[0]!, 50 * KIB)
  onTestFinished(() => paused.resume())
  const { mirror, url, images } = await makeRig({}, { intercept: (...each) => paused.intercept(...each) })
  images.push(image)
  const { body } = await ask<JobSummary>(url, 'POST', '/api/import', { uuids: [uuidOf(image)] })
  const events = await fetch(`${url}/api/jobs/${body.id}/events`)
  const text = events.text()
  await expect.poll(async () => (await mirror.status()).flights[0]?.receivedBytes).toBe(50 * KIB)
  expect((await ask(url, 'DELETE', `/api/jobs/${body.id}`)).body).toMatchObject({ state: 'cancelled' })
  expect((await text).trim().split('\n\n').at(-1)).toContain('"cancelled"')
  await expect.poll(async () => (await mirror.status()).flights).toEqual([])
  expect(await ask(url, 'DELETE', `/api/jobs/${body.id}`)).toMatchObject({ status: 409, body: { code: 'JobIsOver' } })
})

it('lets go of a pull that is cancelled while a client reads the same file, who gets all of it', async () => {
  const image = makeImage({ name: 'slow' }, randomBytes(100 * KIB))
  const paused = new PausedFile(uuidOf(image), image.files[0]!, 50 * KIB)
  onTestFinished(() => paused.resume())
  const { mirror, url, images, read } = await makeRig({}, { intercept: (...each) => paused.intercept(...each) })
  images.push(image)
  const reading = read(image)
  await expect.poll(async () => (await mirror.status()).flights[0]?.receivedBytes).toBe(50 * KIB)
  const { body } = await ask<JobSummary>(url, 'POST', '/api/import', { uuids: [uuidOf(image)] })
  await expect
    .poll(async () => (await ask<JobDetails>(url, 'GET', `/api/jobs/${body.id}`)).body.items)
    .toMatchObject([{ state: 'running' }])
  expect((await ask(url, 'DELETE', `/api/jobs/${body.id}`)).body).toMatchObject({ state: 'cancelled' })
  expect((await mirror.status()).flights).toHaveLength(1)
  paused.resume()
  expect(await reading).toBe(true)
  expect(paused.requestCount).toBe(1)
})

it('shows all that is known of an image', async () => {
  const { url, base, pull } = await makeRig({ pins: ['name=base'] })
  await pull(base)
  const { body } = await ask<ImageDetails>(url, 'GET', `/api/images/${uuidOf(base)}`)
  const bytes = base.files[0]!
  expect(body).toMatchObject({
    name: 'base',
    isHeld: true,
    isPinned: true,
    upstream: 'u',
    manifest: { uuid: uuidOf(base), files: [{ size: bytes.length }] },
    claims: [{ upstream: 'u', isListed: true, withdrawnMs: null, sizeBytes: bytes.length }],
    pins: [{ by: 'configuration', reason: 'name=base' }],
    files: [
      { sha256: sha256(bytes), checkedMs: null, extents: [{ startBytes: 0, endBytes: bytes.length, upstream: 'u' }] },
    ],
  })
})

it('keeps pins over a restart, and gives what is pinned to nobody who wants room', async () => {
  const { mirror, url, alone, pull } = await makeRig()
  await pull(alone)
  const path = `/api/images/${uuidOf(alone)}`
  const pinned = await fetch(`${url}${path}/pin`, {
    method: 'PUT',
    headers: { 'x-operator': 'ada' },
    body: JSON.stringify({ reason: 'the auditors want it' }),
  })
  expect(await pinned.json()).toMatchObject({ pins: [{ by: 'ada', reason: 'the auditors want it' }] })
  const vacuum = { bytes: 1024 * KIB, dryRun: true }
  expect((await ask<VacuumAnswer>(url, 'POST', '/api/vacuum', vacuum)).body.images).toEqual([])
  expect(await ask(url, 'DELETE', path)).toMatchObject({ status: 409, body: { code: 'ImageIsPinned' } })

  await mirror.close()
  const again = await startMirror({ data: mirror.dataDirectory, offline: true })
  expect((await ask<ImageDetails>(again.operatorUrl, 'GET', path)).body.pins).toMatchObject([{ by: 'ada' }])
  expect((await ask<Page<ImageRow>>(again.operatorUrl, 'GET', '/api/images?pinned=true')).body.items).toHaveLength(1)
  expect((await ask(again.operatorUrl, 'PUT', `${path}/pin`)).body).toMatchObject({ pins: [{ reason: null }] })
  expect((await ask(again.operatorUrl, 'DELETE', `${path}/pin`)).body).toMatchObject({ pins: [] })
  expect((await ask(again.operatorUrl, 'DELETE', path)).body).toMatchObject({ freedBytes: 10 * KIB })
})

it('lets go of an image, unless others build on it or somebody reads it', async () => {
  const { mirror, url, base, left, alone, pull, listed } = await makeRig()
  await pull(left, alone)
  const remove = (image: ServedImage) => ask(url, 'DELETE', `/api/images/${uuidOf(image)}`)
  expect(await remove(base)).toMatchObject({ status: 422, body: { code: 'ImageHasDependentImages' } })
  expect((await remove(left)).body).toMatchObject({ freedBytes: 100 * KIB })
  expect((await remove(base)).body).toMatchObject({ freedBytes: 300 * KIB })
  expect(await remove(base)).toMatchObject({ status: 404, body: { code: 'ImageNotHeld' } })
  expect(await listed('?held=true')).toEqual(['alone'])
  expect(await listed()).toEqual(['alone', 'base', 'left', 'right'])
  const held = (await fetch(`${mirror.url}/images/${uuidOf(base)}`)).status
  expect(held).toBe(200)
})

it('makes room by what was used longest ago, and says before what that would be', async () => {
  const { url, base, left, alone, pull, listed } = await makeRig()
  await pull(left)
  await pull(alone)
  const vacuum = (body: object) => ask<VacuumAnswer>(url, 'POST', '/api/vacuum', body)
  const plan = (await vacuum({ bytes: 1, dryRun: true })).body
  expect(await listed('?held=true')).toEqual(['alone', 'base', 'left'])
  const done = (await vacuum({ bytes: 1 })).body
  expect(done).toEqual({ ...plan, dryRun: false })
  expect(done.images.map(({ uuid }) => uuid)).not.toContain(uuidOf(base))
  expect((await vacuum({ bytes: 1024 * KIB })).body.freedBytes + done.freedBytes).toBe(410 * KIB)
  expect(await listed('?held=true')).toEqual([])
  expect((await ask<VacuumAnswer>(url, 'POST', '/api/vacuum')).body).toMatchObject({ wantedBytes: 0, images: [] })
})

it('reads what is held again, and mends what is damaged', async () => {
  const { mirror, url, base, left, alone, pull, read } = await makeRig({ verifyOnRead: 'never' })
  await pull(left, alone)
  await flipBit(blobPath(mirror.dataDirectory, left.files[0]!), 5)
  const verify = async (body?: object) => {
    const answer = await ask<JobSummary>(url, 'POST', '/api/verify', body)
    return (await follow(url, answer.body)).at(-1)!
  }
  expect(await verify({ uuids: [uuidOf(alone)] })).toMatchObject({ result: { good: 1, mended: 0 }, itemCount: 1 })
  expect(await verify({ filter: 'name=base' })).toMatchObject({ result: { good: 1, mended: 0 }, itemCount: 1 })
  const job = await verify()
  expect(job).toMatchObject({ state: 'done', result: { good: 2, mended: 1, damaged: 0 }, doneBytes: 410 * KIB })
  expect(await read(left)).toBe(true)
  const { files } = (await ask<ImageDetails>(url, 'GET', `/api/images/${uuidOf(base)}`)).body
  expect(files[0]!.checkedMs).toBeGreaterThan(0)
  const scrub = await ask<JobSummary>(url, 'POST', '/api/scrub')
  expect((await follow(url, scrub.body)).at(-1)).toMatchObject({ result: { good: 3, mended: 0, otherDamage: 0 } })
  expect(await ask(url, 'POST', '/api/verify', { uuids: [randomUUID()] })).toMatchObject({ status: 404 })
})

it('says of a damaged file that nobody has any more that it is damaged', async () => {
  const { mirror, url, upstream, alone, pull } = await makeRig()
  await pull(alone)
  await upstream.close()
  await flipBit(blobPath(mirror.dataDirectory, alone.files[0]!), 5)
  const { body } = await ask<JobSummary>(url, 'POST', '/api/verify')
  expect((await follow(url, body)).at(-1)).toMatchObject({ result: { damaged: 1 }, items: [{ state: 'failed' }] })
})

it('asks upstreams now, and says what is new', async () => {
  const { url, images, listed, alone, upstream } = await makeRig()
  images.push(makeImage({ name: 'new' }))
  images.splice(images.indexOf(alone), 1)
  const { body } = await ask<RefreshAnswer>(url, 'POST', '/api/refresh', { upstreams: ['u'] })
  expect(body.upstreams).toMatchObject([{ name: 'u', ok: true, images: 4, added: 1, changed: 0, withdrawn: 1 }])
  expect(await listed()).toEqual(['base', 'left', 'new', 'right'])
  const checked = async () => (await ask<UpstreamCheck[]>(url, 'POST', '/api/upstreams/check')).body[0]!
  expect(await checked()).toMatchObject({ name: 'u', ok: true, protocol: 'IMGAPI 4.13.1', error: null })
  await upstream.close()
  expect(await checked()).toMatchObject({ ok: false, protocol: null, error: expect.stringContaining('u') })
  const failed = await ask<RefreshAnswer>(url, 'POST', '/api/refresh')
  expect(failed.body.upstreams).toMatchObject([{ ok: false, images: 4, added: 0, withdrawn: 0 }])
})

it('reads the configuration again', async () => {
  const { operatorUrl } = await startMirror()
  const answer = await ask(operatorUrl, 'POST', '/api/reload')
  expect(answer).toMatchObject({ status: 200, body: { changed: [], needsRestart: [] } })
})

it('adopts for whoever is on this machine alone', async () => {
  const { operatorUrl, dataDirectory } = await startMirror()
  const { body } = await ask<JobSummary>(operatorUrl, 'POST', '/api/adopt', { path: dataDirectory })
  expect((await follow(operatorUrl, body)).at(-1)).toMatchObject({ result: { found: 0, refused: 0 } })
  const jobs = new Jobs({ log: silentLog })
  const adoption = new Adoption({ jobs } as never)
  expect(() => adoption.start('/', { name: 'eve', isLocal: false })).toThrow(/for whoever is on it/)
})

it('imports bundles for whoever is on this machine alone, lists what is lacking of them, and forgets it', async () => {
  const { operatorUrl, dataDirectory } = await startMirror()
  const { body } = await ask<JobSummary>(operatorUrl, 'POST', '/api/bundles/import', { path: dataDirectory })
  expect((await follow(operatorUrl, body)).at(-1)).toMatchObject({ state: 'failed', error: { code: 'BUNDLE_INVALID' } })
  const nothing = { isDiode: false, awaited: [], gaps: [] }
  expect(await ask(operatorUrl, 'GET', '/api/bundles')).toMatchObject({ status: 200, body: nothing })
  expect(await ask(operatorUrl, 'DELETE', '/api/bundles/abcd1234')).toMatchObject({ status: 404 })
  const image = madeUpImage(uuid(1), madeUpBytes(2 * 1024 * 1024, 1))
  const bundle = await writeMadeUpBundle(await temporaryDirectory(), [image], { volumes: 2, parityPercent: 0 })
  const half = { path: bundle.volumes[0]!, isUntrustedAllowed: true }
  const { body: job } = await ask<JobSummary>(operatorUrl, 'POST', '/api/bundles/import', half)
  expect((await follow(operatorUrl, job)).at(-1)).toMatchObject({ result: { lacking: [{ volumesMissing: [2] }] } })
  expect(await ask(operatorUrl, 'GET', '/api/bundles')).toMatchObject({ body: { awaited: [{ bundle: bundle.id }] } })
  expect(await ask(operatorUrl, 'DELETE', `/api/bundles/${bundle.id}`)).toMatchObject({ status: 200 })
  expect(await ask(operatorUrl, 'GET', '/api/bundles')).toMatchObject({ body: nothing })
  const importer = new Importer({ mirror: { jobs: new Jobs({ log: silentLog }) } } as never)
  expect(() => importer.startImport({ path: '/' }, { name: 'eve', isLocal: false })).toThrow(/for whoever is on it/)
})

it('says what is held and what is lacking, and plans and packs a bundle of what another site lacks', async () => {
  const { base, left, pull, url } = await makeRig()
  await pull(base)
  const { body: inventory } = await ask<{ text: string }>(url, 'GET', '/api/inventory')
  expect(await ask(url, 'GET', '/api/bundles/request')).toMatchObject({
    status: 200,
    body: { text: expect.stringContaining('imgapi-mirror inventory') },
  })
  const out = await temporaryDirectory()
  const request = { select: [uuidOf(left)], inventory: inventory.text, out, parityPercent: 0 }
  expect(await ask(url, 'POST', '/api/bundles/plan', request)).toMatchObject({
    status: 200,
    body: { id: null, images: [{ uuid: uuidOf(left), why: 'selected' }], pulledBytes: 100 * KIB },
  })
  const { body: job } = await ask<JobSummary>(url, 'POST', '/api/bundles/export', request)
  const { result } = (await follow(url, job)).at(-1) as { result: ExportResult }
  expect(result).toMatchObject({ images: [{ uuid: uuidOf(left), bundledBytes: 100 * KIB }], warnings: [] })
  expect(await readdir(out)).toEqual(result.volumes.map(({ directory }) => directory))
  expect(await ask(url, 'POST', '/api/bundles/plan', { ...request, inventory: 'none' })).toMatchObject({ status: 422 })
})

it('lets auditors verify, report, compare, sign and look', async () => {
  const { operatorUrl } = await startMirror()
  const head = await ask(operatorUrl, 'POST', '/api/audit/head')
  expect(head).toMatchObject({ status: 200, body: { publicKey: expect.stringContaining('minisign public key') } })
  const { entries, hash } = head.body
  expect(await ask(operatorUrl, 'POST', '/api/audit/verify', { heads: [`${entries} ${hash}`] })).toMatchObject({
    status: 200,
    body: { isIntact: true },
  })
  expect(await ask(operatorUrl, 'GET', '/api/audit/report?since=2026-01-01T00:00:00Z')).toMatchObject({ status: 200 })
  expect(await ask(operatorUrl, 'GET', '/api/audit/report?since=yesterday')).toMatchObject({ status: 422 })
  expect(await ask(operatorUrl, 'POST', '/api/audit/compare')).toMatchObject({ body: { discrepancies: [] } })
  expect(await ask(operatorUrl, 'GET', '/api/audit/log?limit=5')).toMatchObject({ status: 200 })
})

it('says why an image is as it is, also of one that nobody has', async () => {
  const { operatorUrl } = await startMirror()
  const uuid = 'aaaaaaaa-0000-4000-8000-000000000009'
  const { status, body } = await ask(operatorUrl, 'GET', `/api/explain/${uuid}`)
  expect([status, body.image]).toMatchObject([200, { uuid, isServed: false }])
})

it('plans and prewarms', async () => {
  const { base, left, url } = await makeRig({
    prewarm: [
      { name: 'sunday', match: ['name=left'], windows: ['Sun 03:00-03:01'], budget: '1GiB', deadline: '06:00' },
    ],
  })
  expect(await ask(url, 'POST', '/api/plan', { policies: ['sunday'] })).toMatchObject({
    status: 200,
    body: { fetchBytes: 400 * KIB, images: [{ uuid: uuidOf(left), chain: 2 }] },
  })
  expect(await ask(url, 'POST', '/api/plan', { policies: ['monday'] })).toMatchObject({ status: 422 })
  expect(await ask(url, 'POST', '/api/plan', { match: ['nmae=left'] })).toMatchObject({ status: 422 })
  expect(await ask(url, 'POST', '/api/plan', { match: ['name=base'], rate: '1Mbit/s' })).toMatchObject({
    body: { images: [{ uuid: uuidOf(base), policy: 'as asked', outcome: 'comes' }], isTimed: true },
  })
  expect(await ask(url, 'POST', '/api/prewarm', { policies: ['monday'] })).toMatchObject({ status: 422 })
  const { body } = await ask<JobSummary>(url, 'POST', '/api/prewarm')
  expect((await follow(url, body)).at(-1)).toMatchObject({ state: 'done', doneBytes: 400 * KIB })
  expect(await ask(url, 'GET', '/api/prewarm')).toMatchObject({
    body: {
      policies: [{ name: 'sunday', state: 'complete', isBehind: false, lastRun: { fetchedFiles: 2 } }],
      job: null,
    },
  })
})

// At the end, when all of the above have asked.
it('has a test above for every endpoint', () => {
  expect(ENDPOINTS.map(nameOf).filter((name) => !answered.has(name))).toEqual([])
})
