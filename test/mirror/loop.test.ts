import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, it } from 'vitest'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { startMirror } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { started } from '../upstream/upstream-under-test.js'

/** A port that nobody uses now: both mirrors must be told of the other before either runs. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

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
