import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { upgradeManifest } from '../../src/images/upgrade-manifest.js'
import type { JsonObject } from '../../src/parts/json-object.js'
import { makeDataset, makeImage } from '../support/made-up-images.js'
import { startMirror } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'

const run = promisify(execFile)

/** curl, since it sends what it is told to: a target that is a whole url goes to the source's host all the same. */
async function curl(url: string, ...options: string[]) {
  const { stdout } = await run('curl', ['-sS', '-i', '--raw', ...options, url], {
    encoding: 'buffer',
    maxBuffer: 64 * 1024 * 1024,
  })
  const end = stdout.indexOf('\r\n\r\n')
  const [statusLine = '', ...lines] = stdout.subarray(0, end).toString('latin1').split('\r\n')
  const headers = new Map(
    lines.map((line) => [line.split(':', 1)[0]!.toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  )
  return { status: Number(statusLine.split(' ')[1]), headers, body: stdout.subarray(end + 4) }
}

const IMGADM = [
  ...['-H', 'accept: application/json'],
  ...['-H', 'user-agent: imgadm/3.9.5 (node/0.10.26; OpenSSL/1.0.1e)'],
  ...['-H', `date: ${new Date().toUTCString()}`],
]

const json = ({ body }: { body: Buffer }) => JSON.parse(body.toString()) as JsonObject & { files: JsonObject[] }

async function mirrorOf(images: ServedImage[], settings: Record<string, unknown> = {}) {
  const server = await startSdcImgapi({ images })
  onTestFinished(() => server.close())
  const mirror = await startMirror({ upstreams: [{ name: 'server', url: server.url }], ...settings })
  await mirror.settled()
  return mirror
}

/** What imgadm 3.9.5 does with a dsapi source, once it has a manifest (imgadm-client.md, 3). */
async function download(source: string, uuid: unknown) {
  const [file] = json(await curl(`${source}/datasets/${uuid}`, ...IMGADM)).files
  const target = String(file?.url)
  const got = await curl(source, ...IMGADM, '--request-target', target)
  expect(got.status).toBe(200)
  expect(got.headers.get('content-length')).toBe(String(file?.size))
  expect(got.headers.get('transfer-encoding')).toBeUndefined()
  expect(got.headers.get('content-encoding')).toBeUndefined()
  expect(createHash('sha1').update(got.body).digest('hex')).toBe(file?.sha1)
  return got
}

describe('imgadm with a dsapi source', () => {
  beforeAll(() => run('curl', ['--version']))

  it('adds it, lists, shows, and imports a chain, request by request', async () => {
    const base = makeImage({ name: 'base', published_at: '2024-01-01T00:00:00.000Z' })
    const middle = makeImage({ name: 'middle', origin: base.manifest.uuid, state: 'disabled', disabled: true })
    const leaf = makeImage({ name: 'leaf', origin: middle.manifest.uuid })
    const mirror = await mirrorOf([base, middle, leaf], { datasets: { list: 'all' } })

    expect((await curl(`${mirror.url}/ping`, ...IMGADM)).status).toBe(200)
    const list = await curl(`${mirror.url}/datasets`, ...IMGADM)
    expect(JSON.parse(list.body.toString())).toMatchObject([
      { uuid: base.manifest.uuid, state: 'active', os: 'smartos', published_at: '2024-01-01T00:00:00.000Z' },
      { uuid: leaf.manifest.uuid, origin: middle.manifest.uuid },
    ])

    let next: unknown = leaf.manifest.uuid
    const names: unknown[] = []
    while (next !== undefined) {
      const manifest = json(await curl(`${mirror.url}/datasets/${next}`, ...IMGADM))
      // The top image is upgraded, its origins are not: each must do as it stands, and after the upgrade.
      for (const form of [manifest, upgradeManifest(manifest)]) {
        expect(form).toMatchObject({ v: 2, state: manifest.name === 'middle' ? 'disabled' : 'active' })
        expect((form.files as JsonObject[])[0]).toMatchObject({ compression: 'none', size: 100_000 })
      }
      await download(mirror.url, next)
      names.push(manifest.name)
      next = manifest.origin
    }
    expect(names).toEqual(['leaf', 'middle', 'base'])
  })

  it('goes on to its next source for a dataset nobody knows', async () => {
    const mirror = await mirrorOf([])
    const { status, headers, body } = await curl(
      `${mirror.url}/datasets/00000000-0000-4000-8000-000000000000`,
      ...IMGADM,
    )
    expect([status, headers.get('content-type')]).toEqual([404, 'application/json'])
    expect(JSON.parse(body.toString()).code).toBe('ResourceNotFound')
  })

  it('may be older than version 2: it finds datasets by urn, and what it knows of them is right', async () => {
    const bytes = Buffer.from('a dataset of old')
    const { manifest, files } = makeDataset(
      { name: 'smartos', version: '1.3.12', urn: 'sdc:sdc:smartos:1.3.12' },
      bytes,
    )
    const incremental = makeImage({ origin: manifest.uuid })
    const mirror = await mirrorOf([
      { manifest: upgradeManifest(manifest) as Record<string, unknown>, files },
      incremental,
    ])

    const list = JSON.parse((await curl(`${mirror.url}/datasets`)).body.toString()) as JsonObject[]
    expect(list.map(({ uuid }) => uuid)).toEqual([manifest.uuid])
    const { v: _v, owner: _owner, ...old } = json(await curl(`${mirror.url}/datasets/sdc:sdc:smartos:1.3.12`))
    expect(old).toMatchObject({
      uuid: manifest.uuid,
      urn: 'sdc:sdc:smartos:1.3.12',
      creator_uuid: '352971aa-31ba-496c-9ade-a379feaecd52',
      creator_name: 'sdc',
      vendor_uuid: '352971aa-31ba-496c-9ade-a379feaecd52',
      cloud_name: 'sdc',
      platform_type: 'smartos',
      created_at: '2011-04-11T08:45:00Z',
      published_at: '2011-04-11T08:45:00Z',
      files: [{ path: 'smartos-1.3.12.zfs.gz', size: bytes.length }],
    })
    const { path } = old.files[0] as { path: string }
    const file = await curl(`${mirror.url}/datasets/${manifest.uuid}/${path}`)
    expect(file.body.equals(bytes)).toBe(true)
  })

  it('gets urls that work behind a proxy that is trusted', async () => {
    const image = makeImage({ name: 'base' })
    const mirror = await mirrorOf([image], { trustedProxies: ['127.0.0.1'] })
    const proxied = ['-H', 'X-Forwarded-Proto: https', '-H', 'X-Forwarded-Host: images.example.com']
    const { files } = json(await curl(`${mirror.url}/datasets/${image.manifest.uuid}`, ...IMGADM, ...proxied))
    const target = `https://images.example.com/datasets/${image.manifest.uuid}/base-1.0.0.zfs`
    expect(files[0]?.url).toBe(target)
    const got = await curl(mirror.url, ...IMGADM, ...proxied, '--request-target', target)
    expect(got.body.equals(image.files[0]!)).toBe(true)
  })

  it('gets the configured url, with its path', async () => {
    const image = makeImage({ name: 'base' })
    const mirror = await mirrorOf([image], {
      publicUrl: 'https://images.example.com/mirror/',
      datasets: { creatorName: 'acme' },
    })
    const manifest = json(await curl(`${mirror.url}/datasets/${image.manifest.uuid}`, ...IMGADM))
    const target = `https://images.example.com/mirror/datasets/${image.manifest.uuid}/base-1.0.0.zfs`
    expect(manifest.files[0]?.url).toBe(target)
    // It asks the source itself, whether the proxy is on the way or not.
    const got = await curl(mirror.url, ...IMGADM, '--request-target', target)
    expect(got.body.equals(image.files[0]!)).toBe(true)
    expect((await curl(mirror.url, '--request-target', '/mirrors/ping')).status).toBe(404)
    expect(manifest).toMatchObject({ creator_name: 'acme', urn: 'acme:acme:base:1.0.0' })
  })
})
