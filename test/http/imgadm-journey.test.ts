import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { serveMirror } from '../support/imgapi-server.js'
import { wireOf } from '../support/memory-mirror.js'
import { RawClient, splitResponse } from '../support/raw-client.js'

const requestId = randomUUID()

/** The header block of every request of imgadm 3.9.5, in its order and case (imgadm-client.md, 1). */
async function imgadm(url: string, path: string) {
  const client = await RawClient.to(url)
  client.send(
    `GET ${path} HTTP/1.1`,
    `x-request-id: ${requestId}`,
    'accept: application/json',
    'user-agent: imgadm/3.9.5 (node/0.10.26; OpenSSL/1.0.1e)',
    'accept-version: ~2',
    `date: ${new Date().toUTCString()}`,
    `Host: ${new URL(url).host}`,
    'Connection: close',
    '',
    '',
  )
  const { head, body } = splitResponse(await client.closed())
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  )
  expect(headers.get('x-request-id')).toBe(requestId)
  return { status: Number(statusLine.split(' ')[1]), headers, bytes: Buffer.from(body, 'latin1') }
}

const json = (bytes: Buffer) => JSON.parse(bytes.toString())

it('imgadm adds the source, lists, shows, and imports a chain of three', async () => {
  const { url, mirror } = await serveMirror()
  const uuids = [0, 1, 2].map((place) => `aaaaaaaa-0000-4000-8000-00000000000${place}`)
  const files = uuids.map(() => gzipSync(randomBytes(200_000)))
  for (const [place, uuid] of uuids.entries()) {
    const origin = place > 0 ? { origin: uuids[place - 1] } : { state: 'disabled', disabled: true } // an inactive origin
    const file = files[place] ?? Buffer.alloc(0)
    mirror.add(wireOf(uuid, file, { ...origin, description: 'für alle' }), [file]).conduct.isHeld = place === 1
  }

  const ping = await imgadm(url, '/ping')
  expect(ping.status).toBe(200)
  expect(json(ping.bytes).imgapi).toBe(true)

  const list = await imgadm(url, '/images')
  expect(list.status).toBe(200)
  expect(list.headers.get('content-encoding')).toBeUndefined()
  expect(list.headers.get('content-md5')).toBeUndefined() // its node hashes the ü wrongly
  expect(json(list.bytes).map(({ uuid }: { uuid: string }) => uuid)).toEqual(uuids.slice(1))

  let next: string | undefined = uuids[2]
  const seen: string[] = []
  while (next !== undefined) {
    const shown = await imgadm(url, `/images/${next}`)
    expect(shown.status).toBe(200)
    const manifest = json(shown.bytes)
    expect(manifest.v).toBe(2)
    expect(typeof manifest.files[0].size).toBe('number')
    seen.push(manifest.uuid)

    const file = await imgadm(url, `/images/${next}/file`)
    expect(file.status).toBe(200)
    expect(file.headers.get('content-length')).toBe(String(manifest.files[0].size))
    expect(file.headers.get('transfer-encoding')).toBeUndefined()
    expect(createHash('sha1').update(file.bytes).digest('hex')).toBe(manifest.files[0].sha1)
    next = manifest.origin
  }
  expect(seen).toEqual(uuids.toReversed())
})

it('imgadm goes on to its next source for an image nobody knows', async () => {
  const { url } = await serveMirror()
  const { status, headers, bytes } = await imgadm(url, `/images/${randomUUID()}`)
  expect(status).toBe(404)
  expect(headers.get('content-type')).toBe('application/json') // with anything behind it imgadm would not read the body
  expect(json(bytes).code).toBe('ResourceNotFound')
})
