import { execFile } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { startPublishingMirror, TOKEN, tell } from '../support/publishing-mirror.js'
import { RawClient, splitResponse } from '../support/raw-client.js'
import { startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'

const run = promisify(execFile)
const sha1 = (bytes: Buffer) => createHash('sha1').update(bytes).digest('hex')

/** As imgadm create makes it: nothing of owner, state or public. */
const manifestOf = (uuid: string, bytes: Buffer, more: object = {}) => ({
  v: 2,
  uuid,
  name: 'app',
  version: '1.0.0',
  type: 'zone-dataset',
  os: 'smartos',
  files: [{ sha1: sha1(bytes), size: bytes.length, compression: 'gzip' }],
  ...more,
})

/** An image that waits for its file. */
async function imported(url: string, uuid: string = randomUUID(), more: object = {}): Promise<string> {
  const told = await tell(url, 'POST', `/images/${uuid}?action=import`, manifestOf(uuid, Buffer.alloc(1), more))
  expect(told.status).toBe(200)
  return uuid
}

it('imgadm publish: import, file, activate, each over a connection of its own', async () => {
  const { url } = await startMirror({
    upstreams: [],
    publish: {
      users: [{ name: 'builder', tokenHash: `sha256:${createHash('sha256').update(TOKEN).digest('hex')}` }],
    },
  })
  const bytes = gzipSync(randomBytes(400_000))
  const uuid = randomUUID()
  /** In its order and case (imgadm 3.9.5), with the name and the password of its url. */
  const imgadm = async (method: string, path: string, body: Buffer, more: readonly string[] = []) => {
    const client = await RawClient.to(url)
    client.send(
      `${method} ${path} HTTP/1.1`,
      'x-request-id: 5a3f4f8a-0000-4000-8000-000000000000',
      'accept: application/json',
      'content-type: application/json', // for the file too
      'user-agent: imgadm/3.9.5 (node/0.10.26; OpenSSL/1.0.2u)',
      'accept-version: *',
      `date: ${new Date().toUTCString()}`,
      ...more,
      `Authorization: Basic ${Buffer.from(`builder:${TOKEN}`).toString('base64')}`,
      `content-length: ${body.length}`,
      `Host: ${new URL(url).host}`,
      'Connection: close',
      '',
      '',
    )
    client.socket.write(body)
    const { head, body: text } = splitResponse(await client.closed())
    return { status: Number(head.split(' ')[1]), image: JSON.parse(text || '{}') }
  }
  const manifest = Buffer.from(JSON.stringify(manifestOf(uuid, bytes)))
  const md5 = createHash('md5').update(manifest).digest('base64')
  const first = await imgadm('POST', `/images/${uuid}?action=import`, manifest, [`content-md5: ${md5}`])
  expect(first).toMatchObject({ status: 200, image: { uuid, state: 'unactivated', files: [] } })
  const second = await imgadm('PUT', `/images/${uuid}/file?compression=gzip&sha1=${sha1(bytes)}`, bytes)
  expect(second).toMatchObject({ status: 200, image: { files: [{ sha1: sha1(bytes), size: bytes.length }] } })
  const third = await imgadm('POST', `/images/${uuid}?action=activate`, Buffer.from('{}'))
  expect(third).toMatchObject({ status: 200, image: { uuid, state: 'active' } })
  expect(await imgadm('DELETE', `/images/${uuid}`, Buffer.alloc(0))).toMatchObject({ status: 204 })
})

it('curl creates, uploads, activates and deletes, as the reference documents it', async () => {
  const { url } = await startPublishingMirror()
  const directory = await temporaryDirectory()
  const file = join(directory, 'app.zfs.gz')
  const bytes = gzipSync(randomBytes(2_000_000)) // large enough for curl to ask leave
  await writeFile(file, bytes)
  const curl = async (...args: string[]) => {
    const all = ['-sS', '-H', `Authorization: Bearer ${TOKEN}`, '-w', '\n%{http_code}', ...args]
    const lines = (await run('curl', all)).stdout.split('\n')
    return { status: Number(lines.pop()), body: JSON.parse(lines.join('\n') || '{}') }
  }
  const manifest = JSON.stringify({ name: 'app', version: '1.0.0', type: 'zone-dataset', os: 'smartos', public: true })
  const { body } = await curl(`${url}/images`, '-d', manifest)
  const address = `${url}/images/${body.uuid}`
  expect((await curl(`${address}/file?compression=gzip`, '-T', file)).body.files[0].sha1).toBe(sha1(bytes))
  expect((await curl(`${address}?action=activate`, '-X', 'POST')).body.state).toBe('active')
  expect(await curl(`${address}/file?compression=gzip`, '-T', file)).toMatchObject({
    status: 422,
    body: { code: 'ImageFilesImmutable' },
  })
  expect((await curl(address, '-X', 'DELETE')).status).toBe(204)
})

describe('an upload', () => {
  it('cut at any stage leaves the image as it was, and the next one starts over', async () => {
    const { url, operatorUrl } = await startPublishingMirror()
    const uuid = await imported(url)
    const bytes = gzipSync(randomBytes(3_000_000))
    for (const sentBytes of [0, 1, 65_536, 1_048_577, bytes.length - 1]) {
      const client = await RawClient.to(url)
      client.send(
        `PUT /images/${uuid}/file?compression=gzip HTTP/1.1`,
        'Host: x',
        `Authorization: Bearer ${TOKEN}`,
        `Content-Length: ${bytes.length}`,
        'Expect: 100-continue',
        '',
        '',
      )
      await client.until(/100 Continue/)
      await new Promise((resolve) => client.socket.write(bytes.subarray(0, sentBytes), resolve))
      client.socket.destroy()
      expect((await tell(url, 'GET', `/images/${uuid}`)).body.files).toEqual([])
    }
    const told = await tell(url, 'PUT', `/images/${uuid}/file?compression=gzip&sha1=${sha1(bytes)}`, bytes)
    expect(told).toMatchObject({ status: 200, body: { files: [{ sha1: sha1(bytes), size: bytes.length }] } })
    const blobs = async () => ((await (await fetch(`${operatorUrl}/status`)).json()) as { blobsKept: number }).blobsKept
    await until(async () => (await blobs()) === 1)
  })

  it('of 21 GiB is refused before a byte of it is sent', async () => {
    const { url } = await startPublishingMirror()
    const uuid = await imported(url)
    const client = await RawClient.to(url)
    client.send(
      `PUT /images/${uuid}/file?compression=gzip HTTP/1.1`,
      'Host: x',
      `Authorization: Bearer ${TOKEN}`,
      `Content-Length: ${21 * 2 ** 30}`,
      '',
      'the first of them',
    )
    const answer = await client.until(/HTTP\/1\.1 400 .*\}/s)
    client.socket.destroy()
    expect(answer).toContain(
      'image file size 22548578304 (from Content-Length) exceeds the maximum allowed size, 20 GiB',
    )
  })

  it.each([
    [
      'with another sha1 than was promised',
      `sha1=${'0'.repeat(40)}`,
      Buffer.from('12345'),
      /does not match the uploaded/,
    ],
    ['of no bytes', '', Buffer.alloc(0), /0 bytes/],
    ['with another MD5 than was promised', '', Buffer.from('12345'), /Content-MD5/, { 'content-md5': 'AAAA' }],
  ])(
    '%s is refused, and nothing is kept',
    async (_what, query, bytes, complaint, headers: Record<string, string> = {}) => {
      const { url, operatorUrl } = await startPublishingMirror()
      const uuid = await imported(url)
      const told = await tell(url, 'PUT', `/images/${uuid}/file?compression=none&${query}`, bytes, headers)
      expect(told).toMatchObject({ status: 400, body: { code: 'Download' } })
      expect(told.body.message).toMatch(complaint)
      expect(await (await fetch(`${operatorUrl}/status`)).json()).toMatchObject({ blobsKept: 0, bytesKept: 0 })
    },
  )

  it('beside another one of the same image ends with the bytes of one of them', async () => {
    const { url } = await startPublishingMirror()
    const uuid = await imported(url)
    const files = [gzipSync(randomBytes(1_500_000)), gzipSync(randomBytes(1_000_000))]
    const told = await Promise.all(
      files.map((bytes) => tell(url, 'PUT', `/images/${uuid}/file?compression=gzip&sha1=${sha1(bytes)}`, bytes)),
    )
    expect(told.some(({ status }) => status === 200)).toBe(true)
    expect(told.every(({ status }) => status === 200 || status === 409 || status === 422)).toBe(true)
    expect((await tell(url, 'POST', `/images/${uuid}?action=activate`)).status).toBe(200)
    const [{ sha1: kept }] = (await tell(url, 'GET', `/images/${uuid}`)).body.files as [{ sha1: string }]
    const got = Buffer.from(await (await fetch(`${url}/images/${uuid}/file`)).arrayBuffer())
    expect(sha1(got)).toBe(kept)
    expect(files.map(sha1)).toContain(kept)
  })
})

describe('who may not', () => {
  it('is told so before the body is sent, and before anything is said of images', async () => {
    const { url } = await startPublishingMirror()
    const client = await RawClient.to(url)
    client.send(
      'PUT /images/not-a-uuid/file HTTP/1.1',
      'Host: x',
      `Content-Length: ${2 ** 34}`,
      'Expect: 100-continue',
      '',
      '',
    )
    const { head } = splitResponse(await client.closed())
    expect(head).toMatch(/^HTTP\/1\.1 401 /)
  })

  it('is a web page, whoever its reader is', async () => {
    const { url } = await startPublishingMirror()
    const uuid = await imported(url)
    const told = await tell(url, 'POST', `/images/${uuid}?action=disable`, undefined, {
      origin: 'https://evil.example',
    })
    expect(told).toMatchObject({ status: 403, body: { code: 'ForbiddenError' } })
  })

  it('is everybody, on a mirror without users', async () => {
    const { url } = await startMirror({ upstreams: [] })
    const told = await tell(url, 'DELETE', `/images/${randomUUID()}`)
    expect(told.status).toBe(405)
    expect(told.headers.get('allow')).toBe('GET, HEAD')
  })
})

describe('a change', () => {
  it('with If-Match happens to that image, or not at all', async () => {
    const { url } = await startPublishingMirror()
    const uuid = await imported(url)
    const etag = (await tell(url, 'GET', `/images/${uuid}`)).headers.get('etag') ?? ''
    const change = (description: string) =>
      tell(url, 'POST', `/images/${uuid}?action=update`, { description }, { 'if-match': etag })
    const told = await Promise.all([change('one'), change('two')])
    expect(told.map(({ status }) => status).sort()).toEqual([200, 412])
    const winner = told.find(({ status }) => status === 200)!
    expect((await tell(url, 'GET', `/images/${uuid}`)).text).toBe(winner.text)
    expect((await tell(url, 'GET', `/images/${uuid}`)).headers.get('etag')).toBe(winner.headers.get('etag'))
  })

  it('by a manifest of five megabytes, or with keys nobody knows, is refused clearly', async () => {
    const { url } = await startPublishingMirror()
    const uuid = randomUUID()
    const large = { ...manifestOf(uuid, Buffer.alloc(1)), description: 'x'.repeat(5_000_000) }
    expect(await tell(url, 'POST', `/images/${uuid}?action=import`, large)).toMatchObject({
      status: 413,
      body: { code: 'RequestEntityTooLargeError' },
    })
    const unknown = { ...manifestOf(uuid, Buffer.alloc(1)), colour: 'blue' }
    expect(await tell(url, 'POST', `/images/${uuid}?action=import`, unknown)).toMatchObject({
      status: 422,
      body: { code: 'InvalidParameter', errors: [{ field: 'colour', code: 'Invalid' }] },
    })
  })

  it('that deletes an origin in use is refused', async () => {
    const { url } = await startPublishingMirror()
    const origin = await imported(url)
    const leaf = await imported(url, randomUUID(), { origin })
    expect(await tell(url, 'DELETE', `/images/${origin}`)).toMatchObject({
      status: 422,
      body: { code: 'ImageHasDependentImages' },
    })
    expect((await tell(url, 'DELETE', `/images/${leaf}`)).status).toBe(204)
    expect((await tell(url, 'DELETE', `/images/${origin}`)).status).toBe(204)
  })
})
