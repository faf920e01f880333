import { describe, expect, it, onTestFinished } from 'vitest'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { layerBytes, servedLayers } from '../support/made-up-layers.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { startRangeImgapi } from '../support/upstreams/range-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'

async function upstreamWith(...images: ServedImage[]) {
  const upstream = await startRangeImgapi(images)
  onTestFinished(() => upstream.close())
  return {
    url: upstream.url,
    requests: upstream.requests,
    add: (image: ServedImage) => void images.push(image),
    remove: (uuid: string) =>
      void images.splice(
        images.findIndex((image) => uuidOf(image) === uuid),
        1,
      ),
  }
}

/** Another file under the same uuid. */
function liedAbout({ manifest }: ServedImage): ServedImage {
  return makeImage({ uuid: manifest.uuid, ...(manifest.origin !== undefined && { origin: manifest.origin }) })
}

async function mirrorOf(urls: readonly string[], settings: Record<string, unknown>): Promise<RunningMirror> {
  const upstreams = urls.map((url, index) => ({ name: `u${index}`, url }))
  const mirror = await startMirror({ refresh: '100ms', missTtl: '0s', upstreams, ...settings })
  await mirror.settled()
  return mirror
}

async function listed(mirror: RunningMirror): Promise<string[]> {
  const images = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string }[]
  return images.map(({ uuid }) => uuid).sort()
}

async function answer(mirror: RunningMirror, path: string) {
  const response = await fetch(`${mirror.url}${path}`)
  const text = await response.text()
  return { status: response.status, text }
}

describe('a withheld image', () => {
  it('is in no list, and no endpoint opens it or what builds on it', async () => {
    const disputed = makeImage()
    const leaf = makeImage({ origin: uuidOf(disputed) })
    const other = makeImage()
    const [one, two] = [await upstreamWith(disputed, leaf, other), await upstreamWith(liedAbout(disputed))]
    const mirror = await mirrorOf([one.url, two.url], { conflicts: 'withhold' })
    expect(await listed(mirror)).toEqual([uuidOf(other)])
    const datasets = await answer(mirror, '/datasets')
    expect(datasets.text).toContain(uuidOf(other))
    expect(datasets.text).not.toContain(uuidOf(disputed))
    for (const path of ['images', 'datasets'].flatMap((kind) => [
      `/${kind}/${uuidOf(disputed)}`,
      `/${kind}/${uuidOf(leaf)}`,
    ])) {
      const { status, text } = await answer(mirror, path)
      expect([status, text], path).toEqual([404, expect.stringContaining('withheld')])
    }
    for (const path of ['/file', '/icon', '/chunks']) {
      expect((await answer(mirror, `/images/${uuidOf(disputed)}${path}`)).status, path).toBe(404)
      expect((await answer(mirror, `/images/${uuidOf(leaf)}${path}`)).status, path).toBe(404)
    }
    expect(await mirror.status()).toMatchObject({
      imagesWithheld: 1,
      conflicts: [{ uuid: uuidOf(disputed), winner: 'nobody', loser: 'u1' }],
    })
    expect(one.requests.filter(({ url }) => url.includes('/file'))).toEqual([])
  })

  it('comes back, with what builds on it, when the dispute is over', async () => {
    const disputed = makeImage()
    const leaf = makeImage({ origin: uuidOf(disputed) })
    const [one, two] = [await upstreamWith(disputed, leaf), await upstreamWith(liedAbout(disputed), makeImage())]
    const mirror = await mirrorOf([one.url, two.url], { conflicts: 'withhold' })
    expect(await listed(mirror)).toHaveLength(1)
    two.remove(uuidOf(disputed))
    await until(async () => (await listed(mirror)).length === 3)
    expect((await answer(mirror, `/images/${uuidOf(leaf)}/file`)).status).toBe(200)
  })

  it('is believed of one upstream where the operator says so', async () => {
    const disputed = makeImage()
    const lie = liedAbout(disputed)
    const [one, two] = [await upstreamWith(lie), await upstreamWith(disputed)]
    const mirror = await mirrorOf([one.url, two.url], {
      conflicts: 'withhold',
      conflictOverrides: { [uuidOf(disputed)]: 'u1' },
    })
    const response = await fetch(`${mirror.url}/images/${uuidOf(disputed)}/file`)
    expect(Buffer.from(await response.arrayBuffer()).equals(disputed.files[0]!)).toBe(true)
  })

  it('stays withheld when it is held, and another one never takes its place', async () => {
    const disputed = makeImage()
    const [one, two] = [await upstreamWith(disputed), await upstreamWith(makeImage())]
    const mirror = await mirrorOf([one.url, two.url], { conflicts: 'withhold' })
    expect((await answer(mirror, `/images/${uuidOf(disputed)}/file`)).status).toBe(200)
    await until(async () => (await mirror.status()).imagesHeld === 1)
    two.add(liedAbout(disputed))
    await until(async () => (await answer(mirror, `/images/${uuidOf(disputed)}`)).status === 404)
    two.remove(uuidOf(disputed))
    await until(async () => (await answer(mirror, `/images/${uuidOf(disputed)}`)).status === 200)
  })

  it('is awaited of all upstreams when nobody lists it', async () => {
    const disputed = makeImage({ state: 'disabled' })
    const lie = makeImage({ uuid: uuidOf(disputed), state: 'disabled' })
    const [one, two] = [await upstreamWith(disputed), await upstreamWith(lie)]
    const mirror = await mirrorOf([one.url, two.url], { conflicts: 'withhold' })
    expect((await answer(mirror, `/images/${uuidOf(disputed)}`)).status).toBe(404)
  })
})

it('gives nobody an image that too few upstreams tell of, where a quorum is asked for', async () => {
  const [shared, lone] = [makeImage(), makeImage()]
  const [one, two] = [await upstreamWith(shared, lone), await upstreamWith(shared)]
  const mirror = await mirrorOf([one.url, two.url], { conflicts: { quorum: 2 } })
  expect(await listed(mirror)).toEqual([uuidOf(shared)])
  expect((await answer(mirror, `/images/${uuidOf(lone)}`)).text).toContain(
    '2 voices must agree on it, and these do: u0',
  )
})

it('lets stand after a restart what was heard first before it', async () => {
  const image = makeImage()
  const [one, two] = [await upstreamWith(makeImage()), await upstreamWith(image)]
  const settings = { conflicts: 'first-seen' }
  const first = await mirrorOf([one.url, two.url], settings)
  const sha1Of = async (mirror: RunningMirror) =>
    (JSON.parse((await answer(mirror, `/images/${uuidOf(image)}`)).text) as { files: { sha1: string }[] }).files[0]!
      .sha1
  const claimed = (image.manifest.files as { sha1: string }[])[0]!.sha1
  expect(await sha1Of(first)).toBe(claimed)
  await first.close()
  one.add(liedAbout(image))
  const again = await mirrorOf([one.url, two.url], { ...settings, data: first.dataDirectory })
  await until(async () => (await again.status()).conflicts.length === 1)
  expect(await sha1Of(again)).toBe(claimed)
})

it('offers layers of Docker images by the same rules', async () => {
  const layers = servedLayers([layerBytes()])
  const [one, two] = [await upstreamWith(...layers), await upstreamWith(makeImage())]
  const mirror = await mirrorOf([one.url, two.url], {
    conflicts: { quorum: 2 },
    conflictOverrides: { 'type=docker': 'prefer-order' },
  })
  expect(await listed(mirror)).toEqual(layers.map(uuidOf))
})
