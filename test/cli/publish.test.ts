import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { run } from '../../src/cli/run.js'
import type { Surroundings } from '../../src/cli/surroundings.js'
import { silentLog } from '../../src/parts/log.js'
import { startPublishingMirror, TOKEN } from '../support/publishing-mirror.js'
import { startMirror } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'

const shell = promisify(execFile)
const OPTIONS = ['--name', 'app', '--version', '1.0.0', '--os', 'smartos']

/** Runs the command with `input` on its standard input, or in its file. */
async function publish(args: readonly string[], input: Buffer | Readable, stop = new AbortController()) {
  const said = { code: -1, out: '', err: '' }
  const stream = Buffer.isBuffer(input) ? Readable.from([input], { objectMode: false }) : input
  const surroundings: Surroundings = {
    version: '1.2.3',
    environment: {},
    write: (text) => {
      said.out += text
    },
    complain: (text) => {
      said.err += text
    },
    readFile: (path) => readFile(path, 'utf8'),
    openInput: async (path) => ({ stream, sizeBytes: path && Buffer.isBuffer(input) ? input.length : undefined }),
    stop: stop.signal,
    makeLog: () => silentLog,
    assemble: () => Promise.reject(new Error('nothing is to be served here')),
  }
  said.code = await run(['publish', ...args], surroundings)
  return said
}

async function tokenFile(): Promise<string> {
  const path = join(await temporaryDirectory(), 'token')
  await writeFile(path, `${TOKEN}\n`)
  return path
}

describe('imgapi-mirror publish', () => {
  it('makes an image of what comes on standard input, and prints its uuid', async () => {
    const { url } = await startPublishingMirror()
    const bytes = gzipSync(randomBytes(300_000))
    const { code, out, err } = await publish([url, ...OPTIONS, '--token-file', await tokenFile()], bytes)
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toMatch(/^[0-9a-f-]{36}\n$/)

    const image = await (await fetch(`${url}/images/${out.trim()}`)).json()
    expect(image).toMatchObject({
      name: 'app',
      version: '1.0.0',
      os: 'smartos',
      type: 'zone-dataset',
      state: 'active',
      files: [{ size: bytes.length, compression: 'gzip', sha1: createHash('sha1').update(bytes).digest('hex') }],
    })
    const file = Buffer.from(await (await fetch(`${url}/images/${out.trim()}/file`)).arrayBuffer())
    expect(file.equals(bytes)).toBe(true)
  })

  it('takes a manifest as imgadm create makes it, and says what differs', async () => {
    const { url } = await startPublishingMirror()
    const uuid = 'aaaaaaaa-0000-4000-8000-000000000001'
    const manifest = join(await temporaryDirectory(), 'app.imgmanifest')
    const files = [{ sha1: 'x', size: 1, compression: 'bzip2' }]
    await writeFile(
      manifest,
      JSON.stringify({
        v: 2,
        uuid,
        name: 'a',
        version: '1',
        os: 'smartos',
        type: 'zone-dataset',
        state: 'active',
        files,
      }),
    )
    const args = ['-m', manifest, '-f', 'app.zfs.xz', '--version', '2', '--token-file', await tokenFile()]
    const bytes = Buffer.concat([Buffer.from('fd377a585a00', 'hex'), randomBytes(1000)])
    expect(await publish([url, ...args], bytes)).toEqual({ code: 0, out: `${uuid}\n`, err: '' })
    const image = await (await fetch(`${url}/images/${uuid}`)).json()
    expect(image).toMatchObject({ name: 'a', version: '2', files: [{ compression: 'xz', size: bytes.length }] })

    // It is there now, and stays as it is.
    const again = await publish([url, ...args], bytes)
    expect(again).toMatchObject({ code: 1, out: '' })
    expect(again.err).toContain(`409 ImageUuidAlreadyExists: image uuid "${uuid}" already exists`)
    expect((await fetch(`${url}/images/${uuid}`)).status).toBe(200)
  })

  it.each(['rsa', 'ecdsa', 'ed25519'])('signs with a key of type %s, as ssh-keygen makes it', async (type) => {
    const directory = await temporaryDirectory()
    const key = join(directory, 'key')
    await shell('ssh-keygen', ['-q', '-t', type, '-N', '', '-f', key])
    const { url } = await startMirror({
      upstreams: [],
      publish: { users: [{ name: 'builder', sshKeys: [`${key}.pub`] }] },
    })
    const { code, err } = await publish([url, ...OPTIONS, '-u', 'builder', '-i', key], gzipSync('x'))
    expect({ code, err }).toEqual({ code: 0, err: '' })
  })

  it('leaves it unactivated when asked to', async () => {
    const { url } = await startPublishingMirror()
    const { out } = await publish([url, ...OPTIONS, '--no-activate', '--token-file', await tokenFile()], gzipSync('x'))
    expect(await (await fetch(`${url}/images/${out.trim()}`)).json()).toMatchObject({ state: 'unactivated' })
  })

  it('only shows the manifest when asked to', async () => {
    const { code, out } = await publish(['http://127.0.0.1:1', ...OPTIONS, '--dry-run'], gzipSync('x'))
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ v: 2, name: 'app', type: 'zone-dataset', files: [{ compression: 'gzip' }] })
  })

  it.each([
    ['nothing comes', Buffer.alloc(0), 'standard input is empty'],
    ['it is no zfs stream', randomBytes(1000), 'neither compressed nor a zfs stream'],
    ['it is compressed with zstd', Buffer.from('28b52ffd0000000000000000000000000000', 'hex'), 'zstd'],
    ['the wrong one asks', gzipSync('x'), '401 UnauthorizedError'],
  ])('fails with 1 when %s, and leaves nothing behind', async (_what, bytes, complaint) => {
    const { url, operatorUrl } = await startPublishingMirror()
    const { code, out, err } = await publish([url, ...OPTIONS], bytes)
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toContain(complaint)
    expect(await (await fetch(`${operatorUrl}/status`)).json()).toMatchObject({ imagesHeld: 0, blobsKept: 0 })
  })

  it('takes back what it has begun when its input breaks off', async () => {
    const { url } = await startPublishingMirror()
    async function* broken() {
      yield gzipSync(randomBytes(100_000))
      throw new Error('zfs send failed')
    }
    const uuid = 'aaaaaaaa-0000-4000-8000-000000000002'
    const args = [url, ...OPTIONS, '--uuid', uuid, '--token-file', await tokenFile()]
    const { code, err } = await publish(args, Readable.from(broken(), { objectMode: false }))
    expect(code).toBe(1)
    expect(err).toContain('standard input cannot be read: zfs send failed')
    expect((await fetch(`${url}/images/${uuid}`)).status).toBe(404)
  })

  it('takes back what it has begun when it is stopped', async () => {
    const { url } = await startPublishingMirror()
    const stop = new AbortController()
    const endless = new Readable({ read() {} })
    endless.push(gzipSync(randomBytes(100_000)))
    const uuid = 'aaaaaaaa-0000-4000-8000-000000000003'
    const args = [url, ...OPTIONS, '--uuid', uuid, '--token-file', await tokenFile()]
    const publishing = publish(args, endless, stop)
    while ((await fetch(`${url}/images/${uuid}`)).status !== 200) await new Promise((resolve) => setTimeout(resolve, 5))
    stop.abort('SIGINT')
    expect((await publishing).code).toBe(1)
    expect((await fetch(`${url}/images/${uuid}`)).status).toBe(404)
  })

  it.each([
    ['no address', []],
    ['an option nobody knows', ['http://mirror', '--nmae', 'x']],
  ])('exits with 2 for %s', async (_what, args) => {
    expect((await publish(args, Buffer.alloc(1))).code).toBe(2)
  })

  it('says what is missing', async () => {
    const { code, err } = await publish(['http://127.0.0.1:1', '--name', 'x'], gzipSync('x'))
    expect(code).toBe(1)
    expect(err).toContain('lacks version, os, type: say --version, --os, --type')
  })

  it.each(['ftp://builder:S3cret@mirror/x', 'http//builder:S3cret@mirror', 'builder:S3cret@mirror'])(
    'tells no password of an address it refuses: %s',
    async (address) => {
      const { code, err } = await publish([address, ...OPTIONS], gzipSync('x'))
      expect(code).toBe(1)
      expect(err).toContain('is no address of a mirror')
      expect(err).not.toContain('S3cret')
    },
  )

  it('says why a server refuses, where it says so of single fields', async () => {
    const { url } = await startPublishingMirror()
    const { err } = await publish([url, ...OPTIONS, '--private', '--token-file', await tokenFile()], gzipSync('x'))
    expect(err).toContain('private images are not allowed on a public Images API')
  })

  it('explains itself with examples', async () => {
    const { code, out } = await publish(['--help'], Buffer.alloc(0))
    expect(code).toBe(0)
    expect(out).toContain('zfs send zones/x@final | gzip | imgapi-mirror publish')
  })
})
