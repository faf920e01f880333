import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeImage, sha1 } from '../support/made-up-images.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'

/** An imgapi server, a mirror of it, and a mirror of that which knows it by DSAPI alone. */
async function chain(images: ReturnType<typeof makeImage>[], settings: Record<string, unknown> = {}) {
  const server = await startSdcImgapi({ images })
  onTestFinished(() => server.close())
  const first = await startMirror({ upstreams: [{ name: 'server', url: server.url }], ...settings })
  await first.settled()
  const second = await startMirror({ upstreams: [{ name: 'mirror', type: 'dsapi', url: `${first.url}/datasets` }] })
  await second.settled()
  return { server, first, second }
}

const get = async (url: string) => {
  const response = await fetch(url)
  expect(response.status, url).toBe(200)
  return response
}
const json = async (url: string) => (await get(url)).json()

/** An image over the one before it, as the three kinds that DSAPI lists show or hide. */
function images() {
  const owner = randomUUID()
  const compressed = gzipSync(randomBytes(300_000))
  const base = makeImage({ name: 'base', owner, published_at: '2024-01-01T00:00:00.000Z', tags: { role: 'db' } })
  const zvol = makeImage(
    {
      name: 'kvm disk',
      type: 'zvol',
      os: 'linux',
      ...{ nic_driver: 'virtio', disk_driver: 'virtio', cpu_type: 'host', image_size: 10240 },
      ...{ requirements: { min_ram: 512 }, users: [{ name: 'root' }], generate_passwords: false },
      files: [{ sha1: sha1(compressed), size: compressed.length, compression: 'gzip' }],
    },
    compressed,
  )
  const leaf = makeImage({ name: 'leaf', origin: base.manifest.uuid, published_at: '2024-07-01T00:00:00.000Z' })
  return { base, zvol, leaf }
}

describe('a mirror of a mirror, over DSAPI', () => {
  it('has the same images, and every file of them verified', async () => {
    const { base, zvol, leaf } = images()
    const { server, second } = await chain([base, zvol, leaf], { datasets: { list: 'all' } })
    const list = (await json(`${second.url}/images`)) as Record<string, unknown>[]
    const listed = (await json(`${server.url}/images`)) as Record<string, unknown>[]
    expect(list).toEqual(
      listed.map((manifest) => ({ ...manifest, urn: `sdc:sdc:${manifest.name}:${manifest.version}` })),
    )

    for (const { manifest, files } of [leaf, base, zvol]) {
      const body = Buffer.from(await (await get(`${second.url}/images/${manifest.uuid}/file`)).arrayBuffer())
      expect(body.equals(files[0]!)).toBe(true)
    }
    await until(async () => (await second.status()).imagesHeld === 3)
  })

  it('finds incremental images by uuid that the list of the other does not show', async () => {
    const { base, zvol, leaf } = images()
    const { second } = await chain([base, zvol, leaf])
    const names = ((await json(`${second.url}/images`)) as { name: string }[]).map(({ name }) => name)
    expect(names).toEqual(['base', 'kvm disk'])
    expect(await json(`${second.url}/images/${leaf.manifest.uuid}`)).toMatchObject({ origin: base.manifest.uuid })
    const body = Buffer.from(await (await get(`${second.url}/images/${leaf.manifest.uuid}/file`)).arrayBuffer())
    expect(body.equals(leaf.files[0]!)).toBe(true)
  })

  it('goes on serving when both servers before it are gone', async () => {
    const { base } = images()
    const { server, first, second } = await chain([base])
    await (await get(`${second.url}/datasets/${base.manifest.uuid}/base-1.0.0.zfs`)).arrayBuffer()
    await until(async () => (await second.status()).imagesHeld === 1)
    await server.close()
    await first.close()
    const response = await get(`${second.url}/datasets/${base.manifest.uuid}/base-1.0.0.zfs`)
    expect(
      createHash('sha1')
        .update(Buffer.from(await response.arrayBuffer()))
        .digest('hex'),
    ).toBe(sha1(base.files[0]!))
  })
})
