import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { uuidOfLayers } from '../../../src/images/docker/layer-images.js'
import { dockerImage, gzipLayer, indexOf, type MadeDockerImage, zstdLayer } from '../../support/docker-images.js'
import { BASIC_USER, RegistryFiller, startDockerRegistry, whyNoDockerRegistry } from '../../support/docker-registry.js'
import { sha1 } from '../../support/made-up-images.js'
import { startMemoryRegistry } from '../../support/memory-registry.js'
import { startPublishingMirror, TOKEN } from '../../support/publishing-mirror.js'

const whyNot = whyNoDockerRegistry()
const base = gzipLayer('base', randomBytes(1_500_000))
const top = gzipLayer('top', randomBytes(1000))
const app = dockerImage([base, top], {}, true)
const baseUuid = uuidOfLayers([base.digest])
const topUuid = uuidOfLayers([base.digest, top.digest])
const short = (digest: string) => digest.slice(7, 19)

interface Line {
  readonly type: string
  readonly id: string
  readonly payload?: { readonly id?: string; readonly status: string; readonly progressDetail?: { current?: number } }
  readonly error?: { readonly code: string; readonly message: string }
  readonly [key: string]: unknown
}

async function registryOf(images: Record<string, MadeDockerImage> = { 'org/app:1': app }) {
  const registry = await startMemoryRegistry(images)
  onTestFinished(() => registry.close())
  return registry
}

/** A mirror that may pull from this registry when it is asked to. */
function mirrorFor(registry: { url: string }, settings: object = {}, upstream: object = {}) {
  const upstreams = [{ name: 'hub', type: 'docker', url: registry.url, images: ['none/such:x'], ...upstream }]
  return startPublishingMirror({ upstreams, ...settings })
}

async function imported({ url }: { url: string }, query: string, headers: Record<string, string> = {}) {
  const answer = await fetch(`${url}/images?action=import-docker-image&${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, ...headers },
  })
  const { status } = answer
  const text = await answer.text()
  if (status !== 200) return { status, headers: answer.headers, body: JSON.parse(text), lines: [] }
  expect(text.endsWith('\r\n')).toBe(true)
  const lines = text.split('\r\n').slice(0, -1)
  return { status, headers: answer.headers, body: {}, lines: lines.map((line) => JSON.parse(line) as Line) }
}

const statusesOf = (lines: readonly Line[], id: string) =>
  lines.filter(({ payload }) => payload?.id === id).map(({ payload }) => payload!.status)

const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64')

describe('AdminImportDockerImage', () => {
  it('brings a Docker image here, layer by layer, and says how it goes', async () => {
    const registry = await registryOf()
    const mirror = await mirrorFor(registry)
    const { headers, lines, status } = await imported(mirror, `repo=${registry.host}/org/app&tag=1`)
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('application/json')
    expect(headers.get('transfer-encoding')).toBe('chunked')
    expect(new Set(lines.map(({ id }) => id))).toEqual(new Set([`${registry.host}/org/app`]))
    expect(lines[0]).toMatchObject({
      type: 'status',
      payload: { status: expect.stringMatching(/^1: Pulling from .+ \(req .+\)$/) },
    })
    const seen = statusesOf(lines, short(base.digest))
    expect(seen.filter((each) => each !== 'Downloading')).toEqual([
      'Pulling fs layer',
      'Pulling fs layer',
      'Download complete',
      'Activating image',
      'Pull complete',
    ])
    expect(lines.at(-3)).toEqual({
      type: 'create-docker-image',
      id: `${registry.host}/org/app`,
      config_digest: app.config.digest,
      head: true,
      image: JSON.parse(app.config.bytes.toString()),
      image_uuid: topUuid,
      manifest_digest: app.manifest.digest,
      manifest_str: app.manifest.bytes.toString(),
      size: base.size + top.size,
      dockerImageVersion: '2.2',
    })
    const told = lines.slice(-2).map(({ payload }) => payload!.status)
    expect(told).toEqual([
      `Digest: ${app.manifest.digest}`,
      `Status: Downloaded newer image for ${registry.host}/org/app:1`,
    ])
    await registry.close()
    const listed = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string; files: unknown[] }[]
    expect(listed.map(({ uuid }) => uuid).sort()).toEqual([baseUuid, topUuid].sort())
    expect(listed.find(({ uuid }) => uuid === baseUuid)).toMatchObject({
      type: 'docker',
      tags: { 'docker:id': base.digest },
      files: [{ sha1: sha1(base.bytes), size: base.size, compression: 'gzip' }],
    })
    const file = await fetch(`${mirror.url}/images/${topUuid}/file`)
    expect(Buffer.from(await file.arrayBuffer()).equals(top.bytes)).toBe(true)
  })

  it('has nothing to do when it is all here', async () => {
    const registry = await registryOf()
    const mirror = await mirrorFor(registry)
    const query = `repo=${registry.host}/org/app&digest=${app.manifest.digest}`
    await imported(mirror, query)
    const { lines } = await imported(mirror, query)
    expect(statusesOf(lines, short(base.digest))).toEqual(['Pulling fs layer', 'Already exists'])
    expect(lines.at(-1)!.payload!.status).toMatch(/^Status: Image is up to date for .+@sha256:/)
    expect(registry.asked(base.digest)).toBe(1)
  })

  it('goes on where a failure left it', async () => {
    let isBroken = true
    const registry = await startMemoryRegistry({ 'org/app:1': app }, ({ blob, response }) => {
      if (!isBroken || blob !== top) return false
      response.writeHead(404).end()
      return true
    })
    onTestFinished(() => registry.close())
    const mirror = await mirrorFor(registry)
    const query = `repo=${registry.host}/org/app&tag=1`
    const failed = await imported(mirror, query)
    expect(failed.lines.at(-1)).toMatchObject({ type: 'error', error: { code: 'RemoteSourceError' } })
    const between = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string }[]
    expect(between.map(({ uuid }) => uuid)).toEqual([baseUuid])
    isBroken = false
    const { lines } = await imported(mirror, query)
    expect(statusesOf(lines, short(base.digest)).at(-1)).toBe('Already exists')
    expect(statusesOf(lines, short(top.digest)).at(-1)).toBe('Pull complete')
  })

  it.each([
    ['tag=1', [{ field: 'repo', code: 'MissingParameter' }]],
    ['repo=a/b', [{ field: 'tag', code: 'MissingParameter', message: 'one of "tag" or "digest" is required' }]],
    [
      `repo=a/b&tag=1&digest=${base.digest}`,
      [{ field: 'digest', code: 'Invalid', message: 'cannot specify both "tag" and "digest"' }],
    ],
    ['', [{ field: 'repo', code: 'MissingParameter' }, { field: 'tag' }]],
  ])('refuses a request of %s as the reference does', async (query, errors) => {
    const mirror = await startPublishingMirror()
    const { body, status } = await imported(mirror, query)
    expect([status, body]).toMatchObject([422, { code: 'ValidationFailed', message: 'missing parameters', errors }])
  })

  it('refuses what is no name, and registries that configuration does not name, before it asks anybody', async () => {
    const registry = await registryOf()
    const mirror = await mirrorFor(registry)
    const noName = await imported(mirror, 'repo=NO..NAME/x&tag=1')
    expect(noName).toMatchObject({ status: 422, body: { code: 'ValidationFailed', errors: [{ field: 'repo' }] } })
    for (const repo of ['busybox', '169.254.169.254/latest/meta', 'localhost:1/x']) {
      const answer = await imported(mirror, `repo=${repo}&tag=1`)
      expect(answer).toMatchObject({ status: 422, body: { code: 'InvalidParameter', errors: [{ field: 'repo' }] } })
    }
  })

  it('is for operators, and for who may publish', async () => {
    const registry = await registryOf()
    const mirror = await mirrorFor(registry)
    const path = `${mirror.url}/images?action=import-docker-image&repo=${registry.host}/org/app&tag=1`
    expect((await fetch(path, { method: 'POST' })).status).toBe(401)
    const account = 'd2aa3a1c-9b3c-4d3f-8f3a-000000000001'
    const authorization = `Bearer ${TOKEN}`
    const onBehalf = await fetch(`${path}&account=${account}`, { method: 'POST', headers: { authorization } })
    expect([onBehalf.status, await onBehalf.json()]).toMatchObject([403, { code: 'OperatorOnly' }])
    expect(registry.requests.filter(({ url }) => url.includes('org/app'))).toEqual([])
  })

  it('fetches nothing offline', async () => {
    const registry = await registryOf()
    const mirror = await mirrorFor(registry, { offline: true })
    const answer = await imported(mirror, `repo=${registry.host}/org/app&tag=1`)
    expect(answer).toMatchObject({ status: 503, body: { code: 'RemoteSourceError' } })
    expect(registry.requests).toEqual([])
  })

  it.each([
    ['an unknown tag', {}, 'tag=nope', 'ResourceNotFound', /nope/],
    ['a layer of zstd', { 'org/app:1': dockerImage([zstdLayer('z')], {}, true) }, 'tag=1', 'ValidationFailed', /zstd/],
  ])('tells of %s as the last line of a 200', async (_what, images, query, code, message) => {
    const registry = await registryOf({ 'org/app:2': app, ...images })
    const mirror = await mirrorFor(registry)
    const { lines, status } = await imported(mirror, `repo=${registry.host}/org/app&${query}`)
    expect(status).toBe(200)
    const error = { code, message: expect.stringMatching(message) }
    expect(lines.at(-1)).toEqual({ type: 'error', id: `${registry.host}/org/app`, error })
    expect(await (await fetch(`${mirror.url}/images`)).json()).toEqual([])
  })

  it('does not wait for its client, who may leave', async () => {
    const registry = await registryOf()
    const mirror = await mirrorFor(registry)
    const leaving = new AbortController()
    const path = `/images?action=import-docker-image&repo=${registry.host}/org/app&tag=1`
    const headers = { authorization: `Bearer ${TOKEN}` }
    const answer = await fetch(`${mirror.url}${path}`, { method: 'POST', headers, signal: leaving.signal })
    expect(answer.status).toBe(200)
    leaving.abort()
    await answer.text().catch(() => {})
    let count = 0
    while (count < 2) count = ((await (await fetch(`${mirror.url}/images`)).json()) as unknown[]).length
  })

  describe.skipIf(whyNot !== undefined)(`from the real registry${whyNot ? ` (${whyNot})` : ''}`, () => {
    async function realRegistry(form: Parameters<typeof startDockerRegistry>[1] = {}) {
      const workspace = await mkdtemp(join(tmpdir(), 'imgapi-mirror-import-'))
      onTestFinished(() => rm(workspace, { recursive: true, force: true }))
      const open = await startDockerRegistry(workspace)
      const filler = new RegistryFiller(open.url)
      await filler.image('org/app', app)
      const index = indexOf([['linux/amd64', app.manifest]], true)
      await filler.manifest('org/app', 'latest', index)
      onTestFinished(() => open.close())
      const registry = await startDockerRegistry(workspace, { ...form, storage: open.storage })
      onTestFinished(() => registry.close())
      return registry
    }

    it('follows an index to our platform, and shows the manifest it came to', async () => {
      const registry = await realRegistry()
      const mirror = await mirrorFor(registry)
      const { lines } = await imported(mirror, `repo=${registry.host}/org/app&tag=latest`)
      expect(lines.at(-3)).toMatchObject({ manifest_digest: app.manifest.digest, image_uuid: topUuid })
    })

    it('shows the registry what the client proves, by either header, and nobody else', async () => {
      const registry = await realRegistry({ asksPassword: true })
      const { password, username } = BASIC_USER
      const query = `repo=${registry.host}/org/app&tag=latest`
      const denied = await imported(await mirrorFor(registry), query)
      expect(denied.lines.at(-1)).toMatchObject({ type: 'error' })
      for (const headers of [
        { 'x-registry-auth': base64({ username, password }) },
        { 'x-registry-config': base64({ [registry.host]: { username, password }, 'other.example.com': {} }) },
      ]) {
        const mirror = await mirrorFor(registry)
        const { lines } = await imported(mirror, query, headers as unknown as Record<string, string>)
        expect(lines.at(-3)).toMatchObject({ type: 'create-docker-image', image_uuid: topUuid })
        expect(JSON.stringify(mirror.log.lines)).not.toContain(password)
      }
      const other = { 'x-registry-config': base64({ 'other.example.com': { username, password } }) }
      expect((await imported(await mirrorFor(registry), query, other)).lines.at(-1)).toMatchObject({ type: 'error' })
    })
  })
})
