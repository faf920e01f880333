import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { request } from 'node:https'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../scripts/free-port.mjs'
import { dockerImage, gzipLayer } from '../support/docker-images.js'
import { makeImage, sha1, sha256, uuidOf } from '../support/made-up-images.js'
import { startMadeUpRegistry } from '../support/made-up-registry.js'
import { runNginx, whyNoNginx } from '../support/nginx.js'
import { PUBLISHING, TOKEN } from '../support/publishing-mirror.js'
import { type RunningMirror, startMirror } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { makeCertificates } from '../support/upstreams/certificates.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'

const shipped = join(import.meta.dirname, '..', '..', 'deploy', 'nginx', 'imgapi-mirror.conf')

interface Answer {
  readonly status: number
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: Buffer
}

interface Front {
  readonly mirror: RunningMirror
  ask(path: string, headers?: Record<string, string>, method?: string, body?: Buffer): Promise<Answer>
  readonly url: string
  readonly ca: string
}

/**
 * The shipped file before a mirror, with nothing changed in it but what an operator has to.
 * @param blobs where nginx looks for files that are held, if not where they are.
 */
async function startFront(settings: Record<string, unknown>, blobs?: string): Promise<Front> {
  const mirror = await startMirror({
    trustedProxies: ['127.0.0.1'],
    accelRedirect: '/held/',
    scrub: { every: 'never' },
    ...settings,
  })
  const workspace = await temporaryDirectory()
  const { ca, server } = await makeCertificates()
  await writeFile(join(workspace, 'cert.pem'), server.cert)
  await writeFile(join(workspace, 'key.pem'), server.key)
  const port = await freePort()
  const ours: readonly (readonly [string, string])[] = [
    ['server 127.0.0.1:8080;', `server ${new URL(mirror.url).host};`],
    ['listen 443 ssl http2;', `listen 127.0.0.1:${port} ssl http2;`],
    ['listen [::]:443 ssl http2;', ''],
    ['server_name images.example.com;', 'server_name 127.0.0.1;'],
    ['/etc/ssl/certs/images.example.com.pem', join(workspace, 'cert.pem')],
    ['/etc/ssl/private/images.example.com.key', join(workspace, 'key.pem')],
    ['/var/lib/imgapi-mirror/blobs/', blobs ?? join(mirror.dataDirectory, 'blobs/')],
  ]
  let text = await readFile(shipped, 'utf8')
  for (const [theirs, mine] of ours) {
    expect(text.split(theirs), `${theirs} stands in the file once`).toHaveLength(2)
    text = text.replace(theirs, mine)
  }
  const nginx = await runNginx(workspace, `https://127.0.0.1:${port}`, text)
  onTestFinished(() => nginx.close())
  const ask: Front['ask'] = async (path, headers = {}, method = 'GET', body = undefined) => {
    const asked = request(`${nginx.url}${path}`, { method, headers, ca, agent: false })
    asked.end(body)
    const [answer] = await once(asked, 'response')
    return { status: answer.statusCode, headers: answer.headers, body: Buffer.concat(await answer.toArray()) }
  }
  return { mirror, ask, url: nginx.url, ca }
}

/** What the mirror itself says, without nginx. */
async function askDirectly({ mirror }: Front, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(`${mirror.url}${path}`, { headers })
  return {
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    body: Buffer.from(await answer.arrayBuffer()),
  }
}

/** How many bytes the mirror has read from blobs for clients: none for what nginx sends. */
async function chunksRead({ mirror }: Front): Promise<number> {
  const text = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
  const counts = text.matchAll(/^imgapi_mirror_read_checks_total\{[^}]*\} (\d+)/gm)
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
}

const reason = whyNoNginx()
const bytes = randomBytes(400_000)

describe.skipIf(reason !== undefined)(`nginx before a mirror, as shipped${reason ? ` (${reason})` : ''}`, () => {
  async function startHolding(blobs?: string): Promise<Front & { path: string; uuid: string }> {
    const image = makeImage({}, bytes)
    const upstream = await startUpstream({ images: [image] })
    const front = await startFront({ upstreams: [{ name: 'central', url: upstream.url }] }, blobs)
    await front.mirror.settled()
    const uuid = uuidOf(image)
    const path = `/images/${uuid}/file`
    const first = await front.ask(path)
    expect(first.body.equals(bytes), 'streams what is not held yet').toBe(true)
    await expect.poll(async () => (await front.mirror.status()).imagesHeld).toBe(1)
    return { ...front, path, uuid }
  }

  /** What clients go by, of what an answer says. */
  const told = ({ status, headers }: Answer) => ({
    status,
    // A part says by itself that there are parts: nginx leaves it at that.
    acceptsRanges: status === 206 || headers['accept-ranges'],
    ...Object.fromEntries(
      [
        ...['content-type', 'content-length', 'content-range', 'content-md5', 'etag', 'last-modified', 'cache-control'],
        ...['access-control-allow-origin', 'access-control-expose-headers', 'via', 'x-server-name'],
      ].map((name) => [name, headers[name]]),
    ),
  })

  it('sends what is held itself, and says all that the mirror would have', async () => {
    const front = await startHolding()
    const { ask, path, uuid } = front
    const before = await chunksRead(front)
    for (const asked of [path, `/datasets/${uuid}/${(await dsapiPath(front, uuid)) ?? ''}`]) {
      const answer = await ask(asked)
      expect(answer.body.equals(bytes), asked).toBe(true)
      expect(answer.headers['x-accel-redirect']).toBeUndefined()
    }
    expect(await chunksRead(front), 'the mirror has read nothing').toBe(before)
    for (const headers of [{}, { range: 'bytes=1000-1999' }, { range: 'bytes=-5' }, { range: 'bytes=399999-' }]) {
      const [ours, through] = [await askDirectly(front, path, headers), await ask(path, headers)]
      expect(told(through)).toEqual(told(ours))
      expect(through.body.equals(ours.body)).toBe(true)
    }
    const head = await ask(path, {}, 'HEAD')
    expect(told(head)).toMatchObject({ status: 200, 'content-length': String(bytes.length) })
    expect(head.headers['content-md5']).toMatch(/==$/)
  })

  it('answers conditions and ranges as the mirror does', async () => {
    const front = await startHolding()
    const { headers } = await askDirectly(front, front.path)
    const [tag, date] = [String(headers.etag), String(headers['last-modified'])]
    const [early, range] = [new Date(Date.parse(date) - 5000).toUTCString(), 'bytes=10-19']
    const cases: readonly Record<string, string>[] = [
      { 'if-none-match': tag },
      { 'if-none-match': '"another"' },
      { 'if-none-match': '*' },
      { 'if-modified-since': date },
      { 'if-modified-since': early },
      { 'if-match': tag },
      { 'if-match': '"another"' },
      { 'if-unmodified-since': early },
      { 'if-unmodified-since': date },
      { 'if-range': tag, range },
      { 'if-range': date, range },
      { 'if-range': '"another"', range },
      { 'if-none-match': '"another"', 'if-modified-since': date, range },
      { range: 'bytes=9999999-' },
      { range: 'bytes=nonsense' },
      { range: 'lines=1-2' },
    ]
    for (const each of cases) {
      const [ours, through] = [await askDirectly(front, front.path, each), await front.ask(front.path, each)]
      expect(told(through), JSON.stringify(each)).toEqual(told(ours))
      expect(through.body.equals(ours.body), JSON.stringify(each)).toBe(true)
    }
    const several = await front.ask(front.path, { range: 'bytes=0-1,5-6' })
    expect(several.status).toBe(206)
    expect(several.headers['content-type']).toMatch(/^multipart\/byteranges/)
  })

  it('serves 500 at once, over HTTP/2 too, and counts what was sent', async () => {
    const front = await startHolding()
    const http1 = Array.from({ length: 100 }, async () => sha1((await front.ask(front.path)).body))
    const session = connectHttp2(front.url, { ca: front.ca })
    onTestFinished(() => session.close())
    const http2 = Array.from({ length: 400 }, async () => {
      const stream = session.request({ ':path': front.path })
      return sha1(Buffer.concat(await stream.toArray()))
    })
    expect(new Set(await Promise.all([...http1, ...http2]))).toEqual(new Set([sha1(bytes)]))
    const metrics = await (await fetch(`${front.mirror.operatorUrl}/metrics`)).text()
    expect(metrics).toContain('imgapi_mirror_files_asked_total{outcome="hit"} 500')
    expect(metrics).toMatch(
      new RegExp(`^imgapi_mirror_http_sent_bytes_total\\{route="/images/:uuid/file"\\} ${501 * bytes.length}$`, 'm'),
    )
  })

  it('has the mirror stream a file that has left in the very moment', async () => {
    const front = await startHolding(`${await temporaryDirectory()}/`)
    const before = await chunksRead(front)
    const answer = await front.ask(front.path, { range: 'bytes=100-' })
    expect(answer.status).toBe(206)
    expect(answer.body.equals(bytes.subarray(100))).toBe(true)
    expect(await chunksRead(front)).toBeGreaterThan(before)
  })

  it('hands blobs of Docker registries out the same way', async () => {
    const registry = await startMadeUpRegistry()
    const image = dockerImage([gzipLayer('layer', randomBytes(300_000))])
    registry.put('library/app', image, 'latest')
    const front = await startFront({
      upstreams: [{ name: 'docker', type: 'docker', url: registry.url, images: ['library/app'], pull: 'any' }],
    })
    await front.mirror.settled()
    const [layer] = image.layers
    const path = `/v2/library/app/blobs/${layer!.digest}`
    expect((await front.ask(path)).body.equals(layer!.bytes)).toBe(true)
    await expect.poll(async () => (await front.ask(path, {}, 'HEAD')).headers.etag).toBeDefined()
    const before = await chunksRead(front)
    const held = await front.ask(path)
    expect(held.body.equals(layer!.bytes)).toBe(true)
    expect(held.headers['docker-content-digest']).toBe(layer!.digest)
    expect(held.headers['docker-distribution-api-version']).toBe('registry/2.0')
    expect(await chunksRead(front)).toBe(before)
  })

  it('lets images be published, as large as they are', async () => {
    const front = await startFront({ upstreams: [], ...PUBLISHING })
    const authorization = { authorization: `Bearer ${TOKEN}` }
    const json = { ...authorization, 'content-type': 'application/json' }
    const { name, version, type, os, owner } = makeImage().manifest
    const manifest = Buffer.from(JSON.stringify({ v: 2, name, version, type, os, owner, public: true }))
    const created = await front.ask('/images', json, 'POST', manifest)
    const { uuid } = JSON.parse(created.body.toString()) as { uuid: string }
    // More than the 1 MB that nginx takes unless it is told.
    const large = randomBytes(2_000_000)
    const put = await front.ask(`/images/${uuid}/file?compression=none`, authorization, 'PUT', large)
    expect(put.status, put.body.toString()).toBe(200)
    expect((await front.ask(`/images/${uuid}?action=activate`, authorization, 'POST')).status).toBe(200)
    expect((await front.ask(`/images/${uuid}/file`)).body.equals(large)).toBe(true)
  })

  it('lets nobody in where the files lie, and believes no client who asks for a redirect', async () => {
    const front = await startHolding()
    const hex = sha256(bytes)
    expect((await front.ask(`/held/sha256/${hex.slice(0, 2)}/${hex}`)).status).toBe(404)
    const { mirror } = front
    await mirror.reconfigure({ accelRedirect: '/held/', trustedProxies: ['192.0.2.1'], upstreams: [] })
    const asked = { 'x-sendfile-type': 'X-Accel-Redirect' }
    const answer = await askDirectly(front, front.path, asked)
    expect(answer.headers['x-accel-redirect']).toBeUndefined()
    expect(answer.body.equals(bytes)).toBe(true)
  })
})

/** The path under which a DSAPI client knows the file of an image. */
async function dsapiPath(front: Front, uuid: string): Promise<string | undefined> {
  const { body } = await front.ask(`/datasets/${uuid}`)
  return (JSON.parse(body.toString()) as { files?: { path?: string }[] }).files?.[0]?.path
}
