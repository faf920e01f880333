import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { uuidOfLayers } from '../../src/images/docker/layer-images.js'
import { dockerImage, gzipLayer } from '../support/docker-images.js'
import { download } from '../support/download.js'
import { startMemoryRegistry } from '../support/memory-registry.js'
import { startMirror } from '../support/running-mirror.js'
import { startTrap } from '../support/upstreams/serve.js'
import { FAULTS, type Fault } from './faults.js'

/** Of what servers of files do wrong, that which registries are most likely to; the rest is the same code. */
const NAMES = [
  'resets in the middle, then honours ranges',
  'resets one byte before the end, and begins anew each time',
  'falls silent in the middle',
  'gives a tenth more with every try',
  'flips a byte in the middle',
  'flips the last byte',
  'has one byte less, and says so',
  'has one byte more, and says so',
  'shifts the range by one',
  'answers a request without range with a part',
  'redirects in a ring',
  'redirects to an address inside the house',
  'shows a page of exactly the right length with 200',
  'answers 429 with Retry-After',
]

/** What only registries do: a token is over before the layer is. */
const expires: Fault = {
  name: 'asks who we are in the middle, again and again',
  isSurvivable: false,
  serve: ({ file, response, socket, start }) => {
    if (start > 0) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="again"' }).end()
      return
    }
    response.writeHead(200, { 'content-length': file.length })
    response.write(file.subarray(0, file.length >> 1), () => socket.destroy())
  },
}

const chosen = [...FAULTS.filter(({ name }) => NAMES.includes(name)), expires]

it('knows all of these faults', () => {
  expect(chosen).toHaveLength(NAMES.length + 1)
})

it.each(chosen)('a registry that $name harms nobody, by either door', async (fault) => {
  const layer = gzipLayer('layer', randomBytes(300_000))
  const trap = await startTrap()
  let attempt = 0
  const registry = await startMemoryRegistry(
    { 'org/app:1': dockerImage([layer], {}, true) },
    ({ request, response, blob }) => {
      if (blob !== layer) return false
      attempt += 1
      const [, from = '0', to] = /^bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
      const [start, end] = [Number(from), to ? Number(to) + 1 : layer.size]
      const { socket } = request
      fault.serve({ request, response, socket, file: layer.bytes, attempt, start, end, forbidden: trap.url })
      return true
    },
  )
  onTestFinished(async () => void (await Promise.all([trap.close(), registry.close()])))
  const timeouts = { connect: '1s', headers: '250ms', stall: '250ms' }
  const mirror = await startMirror({
    holdback: '64KiB',
    upstreams: [{ name: 'hub', type: 'docker', url: registry.url, images: ['org/app:1'], timeouts }],
  })
  await mirror.settled()
  const byImgapi = await download(mirror.url, uuidOfLayers([layer.digest]))
  if (byImgapi.kind === 'complete') expect(byImgapi.bytes.equals(layer.bytes)).toBe(true)
  if (fault.isSurvivable) expect(byImgapi.kind).toBe('complete')
  const byRegistry = await fetch(`${mirror.url}/v2/org/app/blobs/${layer.digest}`)
    .then(async (answer) => (answer.ok ? Buffer.from(await answer.arrayBuffer()) : undefined))
    .catch(() => undefined)
  if (byRegistry) expect(byRegistry.equals(layer.bytes)).toBe(true)
  if (!fault.isSurvivable) {
    expect([byImgapi.kind, byRegistry]).not.toContain('complete')
    expect(byRegistry).toBeUndefined()
    const kept = await readdir(join(mirror.dataDirectory, 'blobs'), { recursive: true, withFileTypes: true })
    expect(kept.filter((entry) => entry.isFile())).toEqual([])
  }
  expect(trap.connectionCount).toBe(0)
})
