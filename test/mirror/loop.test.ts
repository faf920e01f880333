import { once } from 'node:events'
import { createServer as createHttpServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../scripts/free-port.mjs'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { PUBLISHING, startPublishingMirror, tell } from '../support/publishing-mirror.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'
import { started } from '../upstream/upstream-under-test.js'

it('answers at once for what two mirrors would ask each other for, and says that they do', async () => {
  const [east, west] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const image = makeImage()
  const server = await started(startSdcImgapi({ images: [image] }))
  const real = { name: 'server', url: server.url }
  const one = await startMirror({ listen: east, upstreams: [real, { name: 'west', url: `http://${west}` }] })
  const other = await startMirror({ listen: west, upstreams: [{ name: 'east', url: `http://${east}` }] })
  const unknown = uuidOf(makeImage())
  const startMs = performance.now()
  expect((await fetch(`${one.url}/images/${unknown}`)).status).toBe(404)
  expect(performance.now() - startMs, 'less than the patience with a silent upstream').toBeLessThan(4_000)
  expect(one.log.lines.filter(({ message }) => message.includes('a loop of mirrors'))).toHaveLength(1)
  // What one of them has, both serve.
  expect((await fetch(`${other.url}/images/${uuidOf(image)}`)).status).toBe(200)
})

it('refuses its own questions when it is its own upstream', async () => {
  const address = `127.0.0.1:${await freePort()}`
  const mirror = await startMirror({ listen: address, upstreams: [{ name: 'itself', url: `http://${address}` }] })
  const startMs = performance.now()
  expect(await (await fetch(`${mirror.url}/images`)).json()).toEqual([])
  expect(performance.now() - startMs).toBeLessThan(4_000)
  const answer = await fetch(`${mirror.url}/images/${uuidOf(makeImage())}/file`)
  expect(answer.status).toBe(404)
  expect(mirror.log.lines.some(({ message }) => message.includes('a loop of mirrors'))).toBe(true)
})

/** Knows an image, names itself as a mirror does, and gives the file when it is let go. */
async function startFellow(image: ServedImage, instance: string) {
  const bytes = image.files[0]!
  const held: ServerResponse[] = []
  let isHolding = true
  const give = (response: ServerResponse) =>
    response.writeHead(200, { 'content-length': String(bytes.length), via: `1.1 ${instance}` }).end(bytes)
  const server = createHttpServer(({ url = '' }, response) => {
    if (url.endsWith('/file')) {
      if (isHolding) held.push(response)
      else give(response)
      return
    }
    const isList = url.split('?')[0] === '/images'
    response.writeHead(200, { 'content-type': 'application/json', via: `1.1 ${instance}` })
    response.end(JSON.stringify(isList ? [image.manifest] : image.manifest))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    isAsked: () => held.length > 0,
    letGo() {
      isHolding = false
      for (const response of held) give(response)
    },
  }
}

it('refuses at once whoever comes by way of the mirror that it is asking for the same file, and nobody else', async () => {
  const image = makeImage()
  const instance = 'imgapi-mirror-0123456789abcdef'
  const fellow = await startFellow(image, instance)
  const { settled, url } = await startMirror({ upstreams: [{ name: 'fellow', url: fellow.url }] })
  await settled()
  const get = async (headers: Record<string, string> = {}) => {
    const response = await fetch(`${url}/images/${uuidOf(image)}/file`, { headers })
    return { response, bytes: Buffer.from(await response.arrayBuffer()) }
  }
  const waiting = [get(), get({ via: '1.1 imgapi-mirror-fedcba9876543210' })]
  await until(fellow.isAsked)
  const { response, bytes } = await get({ via: `1.1 imgapi-mirror-fedcba9876543210, 1.1 ${instance}` })
  expect([response.status, response.headers.get('retry-after')]).toEqual([508, '1'])
  expect(JSON.parse(bytes.toString())).toMatchObject({ code: 'LoopDetected' })
  fellow.letGo()
  for (const each of await Promise.all(waiting)) {
    expect(each.response.status).toBe(200)
    expect(each.bytes.equals(image.files[0]!)).toBe(true)
  }
  // What is here waits for nobody.
  await until(async () => (await get({ via: `1.1 ${instance}` })).response.status === 200)
})

describe("two mirrors that are each other's upstream", () => {
  async function makePair(images: readonly ServedImage[], hasAnother: boolean) {
    const [east, west] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
    const server = await startSdcImgapi({ images: [...images] })
    const real = { name: 'server', url: server.url }
    const refresh = '100ms'
    const upstreams = [{ name: 'west', url: `http://${west}` }, real]
    const one = await startMirror({ listen: east, refresh, upstreams })
    const other = await startMirror({ listen: west, refresh, upstreams: [{ name: 'east', url: `http://${east}` }] })
    const knowsAll = async ({ url }: { url: string }) =>
      ((await (await fetch(`${url}/images`)).json()) as unknown[]).length === images.length
    // The second has it from the first, and the first from the second as well.
    await until(async () => (await knowsAll(one)) && (await knowsAll(other)))
    await until(async () => (await one.status()).upstreams.every((upstream) => upstream.images === images.length))
    if (hasAnother) onTestFinished(() => server.close())
    else await server.close()
    return { one, other }
  }

  const get = async ({ url }: { url: string }, image: ServedImage) => {
    const response = await fetch(`${url}/images/${uuidOf(image)}/file`)
    return { status: response.status, bytes: Buffer.from(await response.arrayBuffer()) }
  }

  it('end quickly when both want the same files at the same moment, and nobody has them', async () => {
    const images = Array.from({ length: 4 }, () => makeImage())
    const { one, other } = await makePair(images, false)
    const startMs = performance.now()
    const answers = await Promise.all(images.flatMap((image) => [get(one, image), get(other, image)]))
    expect(performance.now() - startMs, 'less than any stall limit').toBeLessThan(15_000)
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 503))
  })

  it('get the files when one of them knows somebody else', async () => {
    const images = Array.from({ length: 4 }, () => makeImage())
    const { one, other } = await makePair(images, true)
    const startMs = performance.now()
    await Promise.all(
      images.flatMap((image) =>
        [one, other].map(async (mirror) => {
          let answer = await get(mirror, image)
          // Whoever joined what the other had begun is refused with it, and asks again.
          if (answer.status === 503) answer = await get(mirror, image)
          expect(answer.status).toBe(200)
          expect(answer.bytes.equals(image.files[0]!)).toBe(true)
        }),
      ),
    )
    expect(performance.now() - startMs, 'less than any stall limit').toBeLessThan(15_000)
  })
})

it('answers for what two fresh mirrors cannot know that know nobody but each other, within their patience', async () => {
  const [east, west] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const one = await startMirror({ listen: east, upstreams: [{ name: 'west', url: `http://${west}` }] })
  const other = await startMirror({ listen: west, upstreams: [{ name: 'east', url: `http://${east}` }] })
  const unknown = uuidOf(makeImage())
  for (const { url } of [one, other]) {
    const startMs = performance.now()
    expect((await fetch(`${url}/images/${unknown}`)).status).toBe(404)
    expect((await fetch(`${url}/images/${unknown}/file`)).status).toBe(404)
    expect(performance.now() - startMs, 'less than the patience with a silent upstream').toBeLessThan(4_000)
  }
})

it('says by way of whom it asks, also of servers that only a client has named', async () => {
  const image = makeImage()
  const server = await started(startSdcImgapi({ images: [image] }))
  const settings = { publish: { ...PUBLISHING.publish, sources: [server.url] } }
  const { url } = await startPublishingMirror(settings)
  const query = `action=import-remote&source=${encodeURIComponent(server.url)}`
  const via = '1.1 imgapi-mirror-fedcba9876543210'
  expect((await tell(url, 'POST', `/images/${uuidOf(image)}?${query}`, undefined, { via })).status).toBe(200)
  await until(() => server.requests.some(({ url: target }) => target.endsWith('/file')))
  expect(server.requests.length).toBeGreaterThan(1)
  for (const { headers } of server.requests) {
    expect(headers.via).toMatch(/^1\.1 imgapi-mirror-fedcba9876543210, 1\.1 imgapi-mirror-[0-9a-f]{16}$/)
  }
})
