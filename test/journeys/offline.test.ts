import { randomUUID } from 'node:crypto'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { makeImage, sha1, sha256, uuidOf } from '../support/made-up-images.js'
import type { MirrorProcess } from '../support/mirror-process.js'
import { startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'
import { startTrap } from '../support/upstreams/serve.js'
import { startMirrorProcess } from './mirror-process.js'

const WATCH = fileURLToPath(new URL('network-watch.mjs', import.meta.url))

async function get({ url }: { url: string }, path: string) {
  const response = await fetch(url + path)
  const bytes = Buffer.from(await response.arrayBuffer())
  return { status: response.status, bytes, json: () => JSON.parse(bytes.toString()) }
}

async function namesListed(mirror: { url: string }): Promise<string[]> {
  return (await get(mirror, '/images')).json().map(({ name }: { name: string }) => name)
}

/** A data directory with two chains: one whole, one whose base was never fetched; and with an image no list shows. */
async function fillDataDirectory() {
  const base = makeImage({ name: 'base', published_at: '2020-01-01T00:00:00.000Z' })
  const middle = makeImage({ name: 'middle', origin: uuidOf(base), published_at: '2020-01-02T00:00:00.000Z' })
  const leaf = makeImage({ name: 'leaf', origin: uuidOf(middle), published_at: '2020-01-03T00:00:00.000Z' })
  const absent = makeImage({ name: 'absent-base' })
  const orphan = makeImage({ name: 'orphan', origin: uuidOf(absent), icon: true })
  const retired = makeImage({ name: 'retired', state: 'disabled' })
  const server = await startSdcImgapi({ images: [base, middle, leaf, absent, orphan, retired] })
  const mirror = await startMirror({ upstreams: [{ name: 'u', url: server.url }] })
  await mirror.settled()
  for (const image of [base, middle, leaf, orphan, retired]) {
    expect((await get(mirror, `/images/${uuidOf(image)}/file`)).status).toBe(200)
  }
  await until(async () => mirror.log.lines.filter(({ message }) => message.startsWith('kept file')).length === 5)
  await mirror.close()
  await server.close()
  return { data: mirror.dataDirectory, base, middle, leaf, absent, orphan }
}

/** Starts a mirror that is watched; `seen` answers the outbound work it has begun so far. */
async function startWatched(settings: Record<string, unknown>) {
  const path = join(await temporaryDirectory(), 'seen')
  await writeFile(path, '')
  const mirror = await startMirrorProcess(settings, { imports: [WATCH], environment: { NETWORK_WATCH: path } })
  const seen = async () => (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
  return { mirror, seen }
}

async function blobPath(data: string, image: ServedImage): Promise<string> {
  const name = sha256(image.files[0]!)
  const entries = await readdir(join(data, 'blobs'), { recursive: true, withFileTypes: true })
  const entry = entries.find((each) => each.isFile() && each.name === name)!
  return join(entry.parentPath, entry.name)
}

async function expectWholeChain(mirror: MirrorProcess, chain: readonly ServedImage[]): Promise<void> {
  for (const image of chain) {
    expect((await get(mirror, `/images/${uuidOf(image)}`)).status).toBe(200)
    expect(sha1((await get(mirror, `/images/${uuidOf(image)}/file`)).bytes)).toBe(sha1(image.files[0]!))
  }
}

it('serves whole chains offline, names what others lack, and opens no outbound socket', async () => {
  const { data, base, middle, leaf, absent, orphan } = await fillDataDirectory()
  const trap = await startTrap()
  onTestFinished(() => trap.close())
  const { port } = new URL(trap.url)
  const { mirror, seen } = await startWatched({
    data,
    offline: true,
    refresh: '100ms',
    missTtl: '0s',
    upstreams: [
      { name: 'u', url: trap.url },
      { name: 'by-name', url: `http://localhost:${port}` },
      { name: 'old', type: 'dsapi', url: `${trap.url}/datasets` },
    ],
  })

  expect(await namesListed(mirror)).toEqual(['base', 'middle', 'leaf'])
  await expectWholeChain(mirror, [leaf, middle, base])
  expect((await get(mirror, '/ping')).json().imgapi).toBe(true)
  // Everything a client may ask that would make an online mirror look elsewhere.
  for (const path of ['', '/file', '/icon', '/chunks']) {
    const { status, json } = await get(mirror, `/images/${uuidOf(orphan)}${path}`)
    expect({ path, status, code: json().code }).toEqual({ path, status: 404, code: 'ResourceNotFound' })
    expect(json().message).toContain(`the file of image ${uuidOf(absent)}`)
    expect(json().message).not.toContain(`the file of image ${uuidOf(orphan)}`)
  }
  const notFetched = await get(mirror, `/images/${uuidOf(absent)}/file`)
  expect(notFetched.status).toBe(404)
  expect(notFetched.json().message).toContain('this mirror is offline')
  expect((await get(mirror, `/images/${randomUUID()}`)).status).toBe(404)
  const status = await (await fetch(`${mirror.operatorUrl}/status`)).json()
  expect(status).toMatchObject({ isOffline: true, imagesListed: 3, upstreams: [], flights: [] })
  expect(await mirror.stop()).toBe(0)
  expect(trap.connectionCount).toBe(0)
  expect(await seen()).toEqual([])
})

it('is watched by something that would have noticed', async () => {
  const trap = await startTrap()
  onTestFinished(() => trap.close())
  const { mirror, seen } = await startWatched({
    upstreams: [{ name: 'u', url: `http://localhost:${new URL(trap.url).port}` }],
  })
  await until(() => trap.connectionCount > 0)
  expect(await mirror.stop()).toBe(0)
  expect(await seen()).toEqual(expect.arrayContaining(['GETADDRINFOREQWRAP', 'TCPCONNECTWRAP']))
})

it("lists a chain no longer when one origin's file is lost, and says which", async () => {
  const { data, base, middle, leaf } = await fillDataDirectory()
  const settings = { data, offline: true, upstreams: [{ name: 'u', url: 'http://127.0.0.1:9' }] }

  // Lost while we run: noticed when somebody asks for it.
  const first = await startMirrorProcess(settings)
  expect(await namesListed(first)).toEqual(['base', 'middle', 'leaf'])
  await rm(await blobPath(data, middle))
  expect((await get(first, `/images/${uuidOf(middle)}/file`)).status).toBe(404)
  expect(await namesListed(first)).toEqual(['base'])
  const refusal = await get(first, `/images/${uuidOf(leaf)}`)
  expect(refusal.status).toBe(404)
  expect(refusal.json().message).toContain(`the file of image ${uuidOf(middle)}`)
  expect(await first.stop()).toBe(0)

  // Lost while we were away: noticed at start.
  await rm(await blobPath(data, base))
  const second = await startMirrorProcess(settings)
  expect(await namesListed(second)).toEqual([])
  const { message } = (await get(second, `/images/${uuidOf(leaf)}`)).json()
  for (const image of [base, middle]) expect(message).toContain(`the file of image ${uuidOf(image)}`)
  expect(await second.stop()).toBe(0)
})
