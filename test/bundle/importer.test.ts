import { createHash } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { ExportResult } from '../../src/bundle/bundles.js'
import { uuid } from '../images/manifests.js'
import { madeUpBytes } from '../support/made-up-bytes.js'
import { makeImage } from '../support/made-up-images.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'
import { ClosedSite } from './closed-site.js'
import { MIB, madeUpImage, writeMadeUpBundle } from './made-up-bundle.js'
import { makeSigner } from './signers.js'
import { signer } from './volumes.js'

const base = madeUpImage(uuid(1), madeUpBytes(3 * MIB + 17, 1), { name: 'base', icon: madeUpBytes(300, 9) })
const leaf = madeUpImage(uuid(2), madeUpBytes(2 * MIB, 2), { name: 'leaf', origin: uuid(1) })
const other = madeUpImage(uuid(3), madeUpBytes(MIB + 5, 3), { name: 'other' })

/** Overwrites a part of a file on a medium. */
async function damage(path: string, startBytes: number, sizeBytes: number) {
  const file = await fs.open(path, 'r+')
  await file.write(Buffer.alloc(sizeBytes, 0x55), 0, sizeBytes, startBytes)
  await file.close()
}

async function ledgerOf(site: ClosedSite, kind: string) {
  const names = (await fs.readdir(join(site.data, 'ledger'))).filter((name) => name.endsWith('.jsonl'))
  const texts = await Promise.all(names.sort().map((name) => fs.readFile(join(site.data, 'ledger', name), 'utf8')))
  const entries = texts
    .flatMap((text) => text.trim().split('\n'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  return entries.filter((entry) => entry.kind === kind)
}

it('takes in a bundle: its images are listed, with files and icons, and nothing is lacking', async () => {
  const medium = await temporaryDirectory()
  const { id } = await writeMadeUpBundle(medium, [base, leaf])
  const site = await ClosedSite.start()
  const job = await site.import(medium)
  expect(job).toMatchObject({
    state: 'done',
    error: null,
    items: expect.arrayContaining([expect.objectContaining({ name: uuid(2), state: 'done' })]),
  })
  expect(job.result).toMatchObject({ imagesHeld: 2, imagesRefused: [], lacking: [] })
  expect(job.result.volumes).toMatchObject([{ bundle: id, volume: 1, outcome: 'taken', note: null }])
  expect(await site.listed()).toEqual([uuid(1), uuid(2)])
  expect((await site.file(uuid(1))).equals(base.bytes)).toBe(true)
  expect((await site.file(uuid(2))).equals(leaf.bytes)).toBe(true)
  const icon = await fetch(`${site.mirror.url}/images/${uuid(1)}/icon`)
  expect(Buffer.from(await icon.arrayBuffer()).equals(base.icon!)).toBe(true)
  expect((await site.api('GET', '/api/bundles')).body).toEqual({ isDiode: false, awaited: [], gaps: [] })
  expect(await fs.readdir(join(site.data, 'bundles'))).toEqual(['arrivals.json'])
})

it('takes volumes in any order and any number of times, and no byte twice; each image is listed when its chain is whole', async () => {
  const medium = await temporaryDirectory()
  const { id, volumes } = await writeMadeUpBundle(medium, [base, leaf, other], { volumes: 3 })
  const site = await ClosedSite.start()
  const allBytes = base.bytes.length + leaf.bytes.length + other.bytes.length
  const third = await site.import(volumes[2]!)
  expect(third.result.lacking).toMatchObject([{ bundle: id, volumes: 3, volumesMissing: [1, 2] }])
  expect(await site.listed()).toEqual([])
  const again = await site.import(volumes[2]!)
  expect(again.result).toMatchObject({ takenBytes: 0, volumes: [{ outcome: 'repeated', takenBytes: 0 }] })
  await site.restart()
  const first = await site.import(volumes[0]!)
  expect(first.result.lacking).toMatchObject([{ volumesMissing: [2] }])
  const second = await site.import(volumes[1]!)
  expect(second.result).toMatchObject({ imagesHeld: 3 - first.result.imagesHeld, lacking: [] })
  expect(await site.listed()).toEqual([uuid(1), uuid(2), uuid(3)])
  const takenBytes = third.result.takenBytes + first.result.takenBytes + second.result.takenBytes
  expect(takenBytes).toBe(allBytes + base.icon!.length)
  for (const { bytes, image } of [base, leaf, other]) {
    expect((await site.file(image.manifest.uuid)).equals(bytes)).toBe(true)
  }
})

it('lists no image whose origin is not here, says so, and lists it when another bundle has brought the origin', async () => {
  const [one, two] = [await temporaryDirectory(), await temporaryDirectory()]
  const { id } = await writeMadeUpBundle(one, [leaf], { requires: [base] })
  await writeMadeUpBundle(two, [base])
  const site = await ClosedSite.start()
  const incremental = await site.import(one)
  expect(incremental.result).toMatchObject({ imagesHeld: 0 })
  expect(incremental.result.lacking).toMatchObject([
    { bundle: id, volumesMissing: [], images: [{ uuid: uuid(2), missingBytes: 0, missingOrigins: [uuid(1)] }] },
  ])
  expect(await site.listed()).toEqual([])
  expect((await site.import(two)).result).toMatchObject({ imagesHeld: 2, lacking: [] })
  expect(await site.listed()).toEqual([uuid(1), uuid(2)])
  expect((await site.api('GET', '/api/bundles')).body.awaited).toEqual([])
})

it('joins what several bundles have of a file', async () => {
  const [one, two] = [await temporaryDirectory(), await temporaryDirectory()]
  const image = base.image.files[0]!.sha256
  await writeMadeUpBundle(one, [base], { isThere: (sha256, startBytes) => sha256 === image && startBytes >= MIB })
  await writeMadeUpBundle(two, [base], { isThere: (sha256, startBytes) => sha256 === image && startBytes < MIB })
  const site = await ClosedSite.start()
  expect((await site.import(one)).result.lacking).toMatchObject([
    { volumesMissing: [], images: [{ missingBytes: base.bytes.length - MIB }] },
  ])
  expect((await site.import(two)).result).toMatchObject({ imagesHeld: 1, lacking: [] })
  expect((await site.file(uuid(1))).equals(base.bytes)).toBe(true)
  expect((await site.api('GET', '/api/bundles')).body.awaited).toEqual([])
})

it('refuses a bundle that nobody it trusts has signed, and takes it when told so, which the ledger tells', async () => {
  const medium = await temporaryDirectory()
  const stranger = makeSigner()
  const { id } = await writeMadeUpBundle(medium, [base], { by: stranger })
  const site = await ClosedSite.start()
  const refused = await site.import(medium)
  expect(refused.result).toMatchObject({ imagesHeld: 0, takenBytes: 0, volumes: [{ outcome: 'refused' }] })
  expect(refused.result.volumes[0]!.note).toContain(stranger.key)
  expect(await site.listed()).toEqual([])
  expect((await site.import(medium, { isUntrustedAllowed: true })).result).toMatchObject({ imagesHeld: 1 })
  await site.restart()
  const signedBy = { key: stranger.key, isTrusted: false }
  expect(await ledgerOf(site, 'imported')).toMatchObject([{ image: uuid(1), facts: { bundle: id, signedBy } }])
  expect(await ledgerOf(site, 'bundle-read')).toMatchObject([{ facts: { bundle: id, signedBy, volume: 1 } }])
})

it('says of what came in parts that somebody trusted signed it, though of the last part the signature was lost', async () => {
  const { volumes } = await writeMadeUpBundle(await temporaryDirectory(), [base], { volumes: 2 })
  const site = await ClosedSite.start()
  await site.import(volumes[0]!)
  for (const directory of [volumes[1]!, join(volumes[1]!, 'copies')]) {
    for (const name of ['bundle.json.minisig', 'volume.json.minisig']) await fs.rm(join(directory, name))
  }
  expect((await site.import(volumes[1]!)).result.volumes).toMatchObject([{ outcome: 'refused' }])
  const { result } = await site.import(volumes[1]!, { isUntrustedAllowed: true })
  expect(result).toMatchObject({ imagesHeld: 1, lacking: [] })
  const { items } = (await site.api('GET', `/api/audit/log?image=${uuid(1)}`)).body as {
    items: { kind: string; facts: object }[]
  }
  expect(items.find(({ kind }) => kind === 'imported')!.facts).toMatchObject({ signedBy: { isTrusted: true } })
})

it('takes no image that is withheld here, and says why', async () => {
  const medium = await temporaryDirectory()
  await writeMadeUpBundle(medium, [base, other])
  const { url: one } = await startUpstream({ images: [makeImage({ uuid: uuid(1) }, base.bytes)] })
  const { url: two } = await startUpstream({ images: [makeImage({ uuid: uuid(1) })] })
  const upstreams = [one, two].map((url, place) => ({ name: `u${place}`, url }))
  const site = await ClosedSite.start({ offline: false, conflicts: 'withhold', upstreams })
  await site.mirror.settled()
  const { result } = await site.import(medium)
  expect(result).toMatchObject({
    imagesHeld: 1,
    imagesRefused: [{ uuid: uuid(1), why: expect.stringContaining('withheld') }],
  })
  expect(await site.listed()).toEqual([uuid(3)])
})

it('repeats in the ledger what the maker of the bundle knows of where an image came from, as its word', async () => {
  const medium = await temporaryDirectory()
  const claim = { image: uuid(1), kind: 'claim', upstream: 'joyent', firstSeenMs: 1, files: [] }
  const entry = { image: uuid(1), kind: 'ledger', seq: 7, hash: 'ab'.repeat(32), entry: { kind: 'pulled' } }
  const provenance = `${JSON.stringify(claim)}\nnot json\n${JSON.stringify(entry)}\n`
  const { id } = await writeMadeUpBundle(medium, [base], { provenance })
  const site = await ClosedSite.start()
  await site.import(medium)
  await site.restart()
  expect(await ledgerOf(site, 'imported')).toMatchObject([
    {
      facts: {
        from: { site: 'open' },
        upstream: 'joyent',
        claims: [{ upstream: 'joyent', firstSeenMs: 1 }],
        entries: [{ kind: 'pulled', seq: 7, hash: 'ab'.repeat(32) }],
      },
    },
  ])
  const { body } = await site.api('GET', `/api/images/${uuid(1)}`)
  expect(body.upstream).toBe('bundle:open')
  const signedBy = { key: signer.key, isTrusted: true }
  expect(body.cameBy).toEqual({ bundle: id, site: 'open', signedBy, atMs: expect.any(Number) })
  expect(body.files[0].extents).toMatchObject([{ upstream: 'bundle:open' }])
})

it('refuses an image that is another one here, in words, and takes the others', async () => {
  const [one, two] = [await temporaryDirectory(), await temporaryDirectory()]
  await writeMadeUpBundle(one, [base])
  await writeMadeUpBundle(two, [madeUpImage(uuid(1), madeUpBytes(MIB, 77), { name: 'base' }), other])
  const site = await ClosedSite.start()
  await site.import(one)
  const { result } = await site.import(two)
  expect(result).toMatchObject({ imagesHeld: 1, lacking: [], imagesRefused: [{ uuid: uuid(1) }] })
  expect(result.imagesRefused[0]!.why).toMatch(/sha1|size/)
  expect((await site.file(uuid(1))).equals(base.bytes)).toBe(true)
  expect(await site.listed()).toEqual([uuid(1), uuid(3)])
})

it('heals what is damaged within the parity, takes all that is good beyond it, and says what is lacking', async () => {
  const medium = await temporaryDirectory()
  const { id, volumes } = await writeMadeUpBundle(medium, [base, other], { parityPercent: 5 })
  const site = await ClosedSite.start()
  const path = join(volumes[0]!, 'files', base.image.files[0]!.sha256)
  await damage(path, 100_000, 10)
  const copy = await temporaryDirectory()
  await fs.cp(volumes[0]!, join(copy, 'volume'), { recursive: true })
  await damage(path, MIB, MIB)
  const { result } = await site.import(medium)
  expect(result.volumes).toMatchObject([{ bundle: id, outcome: 'damaged' }])
  const [lacking] = result.lacking
  expect(lacking).toMatchObject({ bundle: id, volumesMissing: [1], images: [{ uuid: uuid(1) }] })
  const { missingBytes } = lacking!.images[0]!
  expect(missingBytes).toBeGreaterThan(0)
  expect(missingBytes).toBeLessThan(2 * MIB)
  expect(await site.listed()).toEqual([uuid(3)])
  const healed = await site.import(copy)
  expect(healed.result).toMatchObject({ takenBytes: missingBytes, imagesHeld: 1, lacking: [] })
  expect((await site.file(uuid(1))).equals(base.bytes)).toBe(true)
})

it('fails clearly when the medium is pulled out, keeps what came, and goes on with the same command', async () => {
  const medium = await temporaryDirectory()
  const big = madeUpImage(uuid(4), madeUpBytes(48 * MIB, 4), { name: 'big' })
  const { volumes } = await writeMadeUpBundle(medium, [other, big], { parityPercent: 0 })
  const site = await ClosedSite.start()
  const { body } = await site.api('POST', '/api/bundles/import', { path: medium })
  let doneBytes = 0
  while (doneBytes < 2 * MIB) ({ doneBytes } = (await site.api('GET', `/api/jobs/${body.id}`)).body)
  const [away] = [join(await temporaryDirectory(), 'away')]
  await fs.rename(volumes[0]!, away)
  for (const name of await fs.readdir(join(away, 'files'))) await fs.truncate(join(away, 'files', name), 0)
  const ended = await site.ended(body.id)
  expect(ended.state).toBe('failed')
  expect(ended.error).toMatchObject({
    code: 'MEDIUM_UNREADABLE',
    message: expect.stringContaining('same command again'),
  })
  await fs.rm(away, { recursive: true })
  await writeMadeUpBundle(medium, [other, big], { parityPercent: 0 })
  const { result } = await site.import(medium)
  expect(result).toMatchObject({ lacking: [] })
  expect(result.takenBytes).toBeLessThan(big.bytes.length)
  expect((await site.file(uuid(4))).equals(big.bytes)).toBe(true)
})

it('begins a file anew that another way has spoilt, and says so', async () => {
  const [one, two] = [await temporaryDirectory(), await temporaryDirectory()]
  const { volumes } = await writeMadeUpBundle(one, [base], { volumes: 2 })
  await writeMadeUpBundle(two, [base])
  const site = await ClosedSite.start()
  await site.import(volumes[0]!)
  const partial = join(site.data, 'partial')
  const [name] = await fs.readdir(partial)
  await damage(join(partial, name!, 'bytes'), 10, 10)
  const { result } = await site.import(two)
  expect(result).toMatchObject({ imagesHeld: 1, lacking: [] })
  expect((await site.file(uuid(1))).equals(base.bytes)).toBe(true)
})

it('holds at its next start what is whole by then, however its files have come', async () => {
  const medium = await temporaryDirectory()
  const { volumes } = await writeMadeUpBundle(medium, [base], { volumes: 2 })
  const { url } = await startUpstream({ images: [makeImage({ uuid: uuid(50) }, base.bytes)] })
  const site = await ClosedSite.start({ offline: false, upstreams: [{ name: 'far', url }] })
  await site.import(volumes[0]!)
  await site.file(uuid(50))
  await until(async () => (await site.mirror.status()).imagesHeld === 1)
  await site.restart({ offline: true })
  expect(await site.listed()).toEqual([uuid(1), uuid(50)])
  expect((await site.api('GET', '/api/bundles')).body.awaited).toEqual([])
})

it('takes no byte twice of what is imported twice at the same time', async () => {
  const medium = await temporaryDirectory()
  await writeMadeUpBundle(medium, [base, leaf])
  const site = await ClosedSite.start()
  const jobs = await Promise.all([site.import(medium), site.import(medium)])
  const [one, other] = jobs.map(({ result }) => result.volumes[0]!)
  expect([one!.outcome, other!.outcome].sort()).toEqual(['repeated', 'taken'])
  expect(await site.listed()).toEqual([uuid(1), uuid(2)])
})

it('brings what clients of Docker need: objects with their repositories, layers, and tags once all they lead to is here', async () => {
  const config = Buffer.from(
    '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"history":[]}',
  )
  const layer = madeUpBytes(MIB + 3, 8)
  const hashed = (bytes: Buffer, algorithm = 'sha256') => createHash(algorithm).update(bytes).digest('hex')
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      config: {
        mediaType: 'application/vnd.docker.container.image.v1+json',
        size: config.length,
        digest: `sha256:${hashed(config)}`,
      },
      layers: [
        {
          mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
          size: layer.length,
          digest: `sha256:${hashed(layer)}`,
        },
      ],
    }),
  )
  const object = (bytes: Buffer, mediaType: string) => ({
    digest: { algorithm: 'sha256' as const, hex: hashed(bytes) },
    sizeBytes: bytes.length,
    mediaType,
    repositories: ['docker.io/library/busybox'],
  })
  const medium = await temporaryDirectory()
  const { volumes } = await writeMadeUpBundle(medium, [], {
    volumes: 2,
    docker: {
      objects: [
        object(manifest, 'application/vnd.docker.distribution.manifest.v2+json'),
        object(config, 'application/vnd.docker.container.image.v1+json'),
      ],
      layers: [
        { sizeBytes: layer.length, sha256: hashed(layer), sha1: hashed(layer, 'sha1'), md5: hashed(layer, 'md5') },
      ],
      tags: [{ host: 'docker.io', repository: 'library/busybox', tag: 'latest', digest: `sha256:${hashed(manifest)}` }],
      bytes: new Map([manifest, config, layer].map((bytes) => [hashed(bytes), bytes])),
    },
  })
  const site = await ClosedSite.start({
    upstreams: [{ name: 'hub', type: 'docker', url: 'https://docker.io', images: ['library/busybox:latest'] }],
  })
  const tag = () => fetch(`${site.mirror.url}/v2/library/busybox/manifests/latest`)
  const first = await site.import(volumes[0]!)
  expect(first.result.lacking).toMatchObject([{ volumesMissing: [2] }])
  expect((await tag()).status).not.toBe(200)
  expect((await site.import(volumes[1]!)).result.lacking).toEqual([])
  const answer = await tag()
  expect(answer.status).toBe(200)
  expect(Buffer.from(await answer.arrayBuffer()).equals(manifest)).toBe(true)
  const blob = await fetch(`${site.mirror.url}/v2/library/busybox/blobs/sha256:${hashed(layer)}`)
  expect(Buffer.from(await blob.arrayBuffer()).equals(layer)).toBe(true)
})

it('says which bundles of a series and which volumes never came, until they are forgotten', async () => {
  const root = await temporaryDirectory()
  const series = (number: number, previous?: string) => ({ name: 'weekly', number, previous })
  const one = await writeMadeUpBundle(join(root, '1'), [base], { series: series(1) })
  const four = await writeMadeUpBundle(join(root, '4'), [other], { series: series(4, 'cd'.repeat(32)), volumes: 2 })
  const five = await writeMadeUpBundle(join(root, '5'), [leaf], {
    series: series(5, 'ef'.repeat(32)),
    requires: [base],
  })
  const site = await ClosedSite.start({ bundles: { diode: true } })
  await site.import(join(root, '1'))
  await site.import(four.volumes[1]!)
  await site.import(join(root, '5'))
  expect(one.id).not.toBe(five.id)
  const list = async () => (await site.api('GET', '/api/bundles')).body
  expect(await list()).toMatchObject({
    isDiode: true,
    awaited: [{ bundle: four.id, volumesMissing: [1], series: { name: 'weekly', number: 4 } }],
    gaps: [
      {
        series: 'weekly',
        missing: [[2, 3]],
        unfollowed: [{ number: 5, previous: 'ef'.repeat(32) }],
        lastNumber: 5,
      },
    ],
  })
  const status = (await (await fetch(`${site.mirror.operatorUrl}/status`)).json()) as { bundles: object }
  expect(status.bundles).toMatchObject({ isDiode: true, awaited: 1, volumesMissing: 1, imagesMissing: 1, neverCame: 2 })
  const metrics = await (await fetch(`${site.mirror.operatorUrl}/metrics`)).text()
  expect(metrics).toContain('imgapi_mirror_bundles_never_came 2')
  await site.restart()
  expect(await list()).toMatchObject({ awaited: [{ bundle: four.id }], gaps: [{ missing: [[2, 3]] }] })
  expect(await site.api('DELETE', '/api/bundles/weekly:5')).toMatchObject({ status: 200 })
  expect(await site.api('DELETE', `/api/bundles/${four.id.slice(0, 12)}`)).toMatchObject({ status: 200 })
  expect(await site.api('DELETE', `/api/bundles/${four.id}`)).toMatchObject({ status: 404 })
  expect(await site.api('DELETE', '/api/bundles/monthly:1')).toMatchObject({ status: 404 })
  expect(await list()).toEqual({ isDiode: true, awaited: [], gaps: [] })
  await site.restart()
  expect(await list()).toEqual({ isDiode: true, awaited: [], gaps: [] })
})

it('says that there is nothing to take in a directory without a bundle', async () => {
  const site = await ClosedSite.start()
  const ended = await site.import(await temporaryDirectory())
  expect(ended).toMatchObject({ state: 'failed', error: { code: 'BUNDLE_INVALID' } })
})

it('asks for exactly what is lacking: an export for its request heals what a lost volume took away', async () => {
  const [medium, out] = [await temporaryDirectory(), await temporaryDirectory()]
  const { volumes } = await writeMadeUpBundle(medium, [base, leaf], { volumes: 2 })
  const [open, closed] = [await ClosedSite.start(), await ClosedSite.start()]
  await open.import(medium)
  const first = await closed.import(volumes[0]!)
  const missingBytes = first.result.lacking[0]!.images.reduce((sum, image) => sum + image.missingBytes, 0)
  const { text } = (await closed.api('GET', '/api/bundles/request')).body
  const asked = { select: [], inventory: text, out, isUntrustedAllowed: true }
  const { body } = await open.api('POST', '/api/bundles/export', asked)
  const exported = await open.ended(body.id)
  expect(exported).toMatchObject({ state: 'done' })
  const { images } = exported.result as unknown as ExportResult
  expect(images.reduce((sum, { bundledBytes }) => sum + bundledBytes, 0)).toBe(missingBytes)
  const { result } = await closed.import(out, { isUntrustedAllowed: true })
  expect(result).toMatchObject({ lacking: [] })
  // And what that mirror knows of where the images came from.
  const provenanceBytes = result.takenBytes - missingBytes
  expect(provenanceBytes).toBeGreaterThanOrEqual(0)
  expect(provenanceBytes).toBeLessThan(16_384)
  expect(await closed.listed()).toEqual([uuid(1), uuid(2)])
  expect((await closed.file(uuid(1))).equals(base.bytes)).toBe(true)
  expect((await closed.api('GET', '/api/bundles')).body.awaited).toEqual([])
})
