import { randomUUID } from 'node:crypto'
import { expect, it, onTestFinished } from 'vitest'
import { makeImage, sha1, uuidOf } from '../support/made-up-images.js'
import { startMirror } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { fileSha1, getJson, namesListed } from './clients.js'

async function mirrorOf(images: ReturnType<typeof makeImage>[], settings: Record<string, unknown> = {}) {
  const upstream = await startSdcImgapi({ images })
  onTestFinished(() => upstream.close())
  const mirror = await startMirror({ ...settings, upstreams: [{ name: 'u', url: upstream.url }] })
  await mirror.settled()
  return { mirror, upstream }
}

/** What a refusal says at its end. */
function pointerTo(uuid: string): string {
  return `; "imgapi-mirror explain ${uuid}" tells more`
}

/** A chain of so many images, base first. */
function chainOf(length: number) {
  const chain = [makeImage({ name: 'base' })]
  while (chain.length < length) chain.push(makeImage({ name: `on-${chain.length}`, origin: uuidOf(chain.at(-1)!) }))
  return chain
}

it('refuses a ring of origins by name, file and all, and lives on', async () => {
  const [a, b, c] = [randomUUID(), randomUUID(), randomUUID()]
  const ring = [
    makeImage({ uuid: a, origin: b }),
    makeImage({ uuid: b, origin: c }),
    makeImage({ uuid: c, origin: a }),
    makeImage({ name: 'innocent' }),
  ]
  const { mirror } = await mirrorOf(ring)
  for (const path of [`/images/${a}`, `/images/${a}/file`]) {
    const { status, body } = await getJson(mirror, path)
    expect(status).toBe(503)
    expect(body).toEqual({
      code: 'RemoteSourceError',
      message: `the ancestry of image ${a} is a ring of origins: ${a} -> ${b} -> ${c} -> ${a}${pointerTo(a)}`,
    })
  }
  expect(await namesListed(mirror)).toContain('innocent')
  expect((await getJson(mirror, `/images/${uuidOf(ring[3]!)}`)).status).toBe(200)
})

it('refuses an image that is its own origin', async () => {
  const uuid = randomUUID()
  const { mirror } = await mirrorOf([makeImage({ uuid, origin: uuid })])
  expect((await getJson(mirror, `/images/${uuid}`)).body.message).toContain(`${uuid} -> ${uuid}`)
})

it('follows a chain as deep as configured, and refuses a deeper one by name', async () => {
  const chain = chainOf(4)
  const { mirror } = await mirrorOf(chain, { maxAncestry: 3 })
  expect((await getJson(mirror, `/images/${uuidOf(chain[2]!)}`)).status).toBe(200)
  const { status, body } = await getJson(mirror, `/images/${uuidOf(chain[3]!)}`)
  expect(status).toBe(503)
  const top = uuidOf(chain[3]!)
  expect(body.message).toBe(`the ancestry of image ${top} is longer than 3 images${pointerTo(top)}`)
})

it('finds out that a ring is one while it asks for origins that nobody listed', async () => {
  const [a, b] = [randomUUID(), randomUUID()]
  const hidden = { state: 'disabled', disabled: true }
  const { mirror } = await mirrorOf([makeImage({ uuid: a, origin: b }), makeImage({ uuid: b, origin: a, ...hidden })])
  expect((await getJson(mirror, `/images/${a}`)).body.message).toContain('ring of origins')
})

it('serves a leaf whose origin nobody has, as its upstream does; the origin is a 404', async () => {
  const missing = randomUUID()
  const leaf = makeImage({ origin: missing })
  const { mirror } = await mirrorOf([leaf])
  expect((await getJson(mirror, `/images/${uuidOf(leaf)}`)).status).toBe(200)
  expect(await fileSha1(mirror, `/images/${uuidOf(leaf)}/file`)).toBe(sha1(leaf.files[0]!))
  expect((await getJson(mirror, `/images/${missing}`)).status).toBe(404)
})

it('makes the whole ancestry ready when a leaf is asked for: nothing more is asked of the upstream then', async () => {
  const [base, middle, leaf] = chainOf(3)
  for (const { manifest } of [base!, middle!]) Object.assign(manifest, { state: 'disabled', disabled: true })
  const { mirror, upstream } = await mirrorOf([base!, middle!, leaf!])
  await getJson(mirror, `/images/${uuidOf(leaf!)}`)
  const asked = upstream.requests.length
  for (const image of [leaf!, middle!, base!]) {
    expect((await getJson(mirror, `/images/${uuidOf(image)}`)).status).toBe(200)
  }
  expect(upstream.requests).toHaveLength(asked)
})
