import { appendFile, mkdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { TrustedKeys } from '../../src/bundle/trusted-keys.js'
import type { Uuid } from '../../src/images/uuid.js'
import type { Upstream } from '../../src/upstream/upstream.js'
import { makeSigner } from '../bundle/signers.js'
import { MIB } from '../images/bundle/bundles.js'
import { uuid } from '../images/manifests.js'
import { type MadeUpBundle, makeBundle } from '../support/made-up-bundle.js'
import { startNginx, whyNoNginx } from '../support/nginx.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startStaticServer } from '../support/upstreams/static-server.js'
import { listOf, never, started, upstreamAt, uuidsOf } from './upstream-under-test.js'

const signer = makeSigner()
const trust = TrustedKeys.of([signer.publicKey])

/** Bytes of a file of the bundle, by way of the upstream. */
async function read(upstream: Upstream, number: number, range: { startBytes?: number; endBytes?: number } = {}) {
  const statement = (await upstream.getImage(uuid(number), never))!
  const body = await upstream.openFile({ statement, fileIndex: 0, startBytes: 0, ...range, signal: never })
  return { ...body, bytes: await buffer(body.body) }
}

async function insteadOf(file: string, make: () => Promise<unknown>): Promise<void> {
  await rm(file)
  await make()
}

const fileUrl = (path: string) => `${pathToFileURL(path).href}/`

describe.each([
  ['behind nginx', async (directory: string) => (await started(startNginx(await temporaryDirectory(), directory))).url],
  ['behind a plain web server', async (directory: string) => (await started(startStaticServer(directory))).url],
  ['in a directory', async (directory: string) => pathToFileURL(directory).href],
])('a bundle %s as an upstream', (place, serve) => {
  const isMissing = place === 'behind nginx' && whyNoNginx() !== undefined

  async function bundleAt(changes: { volume?: number } = {}) {
    const directory = await temporaryDirectory()
    const bundle = await makeBundle(directory, signer)
    const name = bundle.volumes[(changes.volume ?? 1) - 1]!.slice(directory.length)
    const url = `${await serve(directory)}${name}`
    return { directory, bundle, url, upstream: upstreamAt('bundle', url, { trust }) }
  }

  it.skipIf(isMissing)('lists the images of which it has everything, and says why not the others', async () => {
    const { upstream } = await bundleAt()
    const listing = await listOf(upstream)
    expect(uuidsOf(listing)).toEqual([uuid(1), uuid(2)])
    expect(listing.listedCount).toBe(3)
    expect(listing.leftOut).toMatchObject([{ uuid: uuid(3), reason: expect.stringContaining('only the parts') }])
    expect(await upstream.listImages({ validator: listing.validator, signal: never })).toBe('unchanged')
    expect(await upstream.getImage(uuid(3), never)).toBeUndefined()
    expect(await upstream.getImage(uuid(99), never)).toBeUndefined()
    expect(await upstream.check(never)).toContain('of open side, Zürich')
  })

  it.skipIf(isMissing)('gives files whole and in ranges, also across pieces and volumes', async () => {
    for (const volume of [1, 2]) {
      const { bundle, upstream } = await bundleAt({ volume })
      const [one, two] = [bundle.contents.get(1)!, bundle.contents.get(2)!]
      expect((await read(upstream, 1)).bytes.equals(one)).toBe(true)
      expect((await read(upstream, 2)).bytes.equals(two)).toBe(true)
      for (const [startBytes, endBytes] of [
        [5, 10],
        [MIB - 3, MIB + 4],
        [MIB - 1, 2 * MIB + 1],
        [MIB, 2 * MIB],
        [2 * MIB + 1, two.length],
        [0, MIB],
      ] as const) {
        const answer = await read(upstream, 2, { startBytes, endBytes })
        expect(answer).toMatchObject({ startBytes, endBytes, totalBytes: two.length })
        expect(answer.bytes.equals(two.subarray(startBytes, endBytes))).toBe(true)
      }
      const part = await read(upstream, 1, { startBytes: 7, endBytes: 99 })
      expect(part.bytes.equals(one.subarray(part.startBytes, part.endBytes))).toBe(true)
    }
  })

  it.skipIf(isMissing)('gives icons', async () => {
    const { bundle, upstream } = await bundleAt()
    expect(await upstream.getIcon(uuid(1), never)).toEqual({ contentType: 'image/png', bytes: bundle.icon })
    expect(await upstream.getIcon(uuid(2), never)).toBeUndefined()
    await appendFile(join(bundle.volumes[0]!, `icons/${uuid(1)}.png`), '!')
    await expect(upstream.getIcon(uuid(1), never)).rejects.toThrow('is not the icon that the bundle says')
  })

  it.skipIf(isMissing)('misses a volume only when something on it is wanted', async () => {
    const { bundle, upstream } = await bundleAt()
    await rm(bundle.volumes[1]!, { recursive: true })
    expect(uuidsOf(await listOf(upstream))).toEqual([uuid(1), uuid(2)])
    expect((await read(upstream, 1)).bytes.length).toBe(bundle.contents.get(1)!.length)
    expect((await read(upstream, 2, { startBytes: 1, endBytes: MIB })).bytes.length).toBe(MIB - 1)
    await expect(read(upstream, 2)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })

  it.skipIf(isMissing)('finds volumes that lie in one directory under another name', async () => {
    const { bundle, directory } = await bundleAt()
    await rename(bundle.volumes[0]!, join(directory, 'stick'))
    const upstream = upstreamAt('bundle', `${await serve(directory)}/stick/`, { trust })
    expect((await read(upstream, 2)).bytes.equals(bundle.contents.get(2)!)).toBe(true)
  })

  it.skipIf(isMissing)('ends a body that nobody reads to its end', async () => {
    const { upstream } = await bundleAt()
    const statement = (await upstream.getImage(uuid(2), never))!
    const request = { statement, fileIndex: 0, startBytes: 0, signal: never }
    // More often than it has connections.
    for (let round = 0; round < 10; round++) {
      const { body } = await upstream.openFile(request)
      if (round % 2 === 0) for await (const _chunk of body) break
      body.destroy()
    }
    expect((await read(upstream, 2)).bytes.length).toBeGreaterThan(2 * MIB)
  })

  it.skipIf(isMissing)('hears of another bundle in its place', async () => {
    const { bundle, upstream } = await bundleAt()
    const { validator } = await listOf(upstream)
    const changed = Buffer.from(bundle.bundleJson.toString().replace('image-1', 'image-I'))
    await writeFile(join(bundle.volumes[0]!, 'bundle.json'), Buffer.concat([changed, Buffer.from('\n')]))
    await expect(upstream.listImages({ validator, signal: never })).rejects.toThrow('its signature is not of it')
  })
})

describe('whom a bundle is taken from', () => {
  async function listingWith(signedBy: ReturnType<typeof makeSigner> | undefined, options = {}) {
    const bundle = await makeBundle(await temporaryDirectory(), signedBy)
    return await listOf(upstreamAt('bundle', fileUrl(bundle.volumes[0]!), { trust, ...options }))
  }

  it('is whoever we trust', async () => {
    expect((await listingWith(signer)).statements).toHaveLength(2)
    await expect(listingWith(undefined)).rejects.toThrow('nobody has signed it')
    const stranger = makeSigner()
    await expect(listingWith(stranger)).rejects.toThrow(`signed by key ${stranger.key}, which is not among`)
    await expect(listingWith(signer, { trust: undefined })).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })

  it('is anybody where configuration says so, and the log tells', async () => {
    const log = new RecordingLog()
    const options = { allowUntrusted: true, log }
    expect((await listingWith(undefined, options)).statements).toHaveLength(2)
    expect((await listingWith(makeSigner(), options)).statements).toHaveLength(2)
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(2)
  })

  it('is never somebody who has changed what another one signed', async () => {
    const bundle = await makeBundle(await temporaryDirectory(), signer)
    await writeFile(join(bundle.volumes[0]!, 'bundle.json'), bundle.bundleJson.toString().replace('image-1', 'image-I'))
    const upstream = upstreamAt('bundle', fileUrl(bundle.volumes[0]!), { trust, allowUntrusted: true })
    await expect(listOf(upstream)).rejects.toThrow('its signature is not of it')
  })

  it('is asked again once somebody else is trusted, though nothing has changed', async () => {
    const bundle = await makeBundle(await temporaryDirectory(), signer)
    const url = fileUrl(bundle.volumes[0]!)
    const { validator } = await listOf(upstreamAt('bundle', url, { trust }))
    const later = upstreamAt('bundle', url, { trust: TrustedKeys.of([makeSigner().publicKey]) })
    await expect(later.listImages({ validator, signal: never })).rejects.toThrow('not among bundles.trustedKeys')
  })
})

describe('a bundle in a directory that is not as it should be', () => {
  let bundle: MadeUpBundle
  async function upstreamAfter(change: (volume: string, file: string) => Promise<unknown>): Promise<Upstream> {
    bundle = await makeBundle(await temporaryDirectory(), signer)
    const [volume = ''] = bundle.volumes
    await change(volume, join(volume, 'files', bundle.index.images[0]!.files[0]!.sha256))
    return upstreamAt('bundle', fileUrl(volume), { trust })
  }

  it.each<[string, (volume: string, file: string) => Promise<unknown>, string]>([
    ['a file is shorter', (_volume, file) => truncate(file, 5), 'has 5 bytes, the bundle says'],
    ['a file is missing', (_volume, file) => rm(file), 'is not there'],
    ['a file is a link', (_volume, file) => insteadOf(file, () => symlink('/etc/passwd', file)), 'is a link'],
    ['a file is a directory', (_volume, file) => insteadOf(file, () => mkdir(file)), 'no regular file'],
    ['there is no bundle', (volume) => rm(join(volume, 'bundle.json')), 'right is the directory of a volume'],
    ['the stick was pulled', (volume) => rm(volume, { recursive: true }), 'is not there'],
    ['its index is endless', (volume) => truncate(join(volume, 'bundle.json'), 2 ** 40), 'we take at most 67108864'],
    [
      'its index is a link',
      (volume) => insteadOf(join(volume, 'bundle.json'), () => symlink('/dev/zero', join(volume, 'bundle.json'))),
      'is a link',
    ],
  ])('says so when %s', async (_fault, change, complaint) => {
    const upstream = await upstreamAfter(change)
    await expect(read(upstream, 1)).rejects.toThrow(complaint)
  })

  it('is not parsed when it is no index, whoever signed it', async () => {
    const upstream = await upstreamAfter(async (volume) => {
      await writeFile(join(volume, 'bundle.json'), '{}')
      await writeFile(join(volume, 'bundle.json.minisig'), signer.sign('{}', ''))
    })
    await expect(listOf(upstream)).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
      message: expect.stringContaining('format is missing; right is "imgapi-mirror bundle"'),
    })
  })

  it('does not know files of images that it has not', async () => {
    const upstream = await upstreamAfter(async () => {})
    const statement = (await upstream.getImage(uuid(1), never))!
    const other = { ...statement, manifest: { ...statement.manifest, uuid: uuid(9) as Uuid } }
    await expect(upstream.openFile({ statement: other, fileIndex: 0, startBytes: 0, signal: never })).rejects.toThrow(
      'has no such file',
    )
  })
})
