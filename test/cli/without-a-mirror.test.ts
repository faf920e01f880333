import { appendFile, cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openData } from '../../src/assemble/open-data.js'
import { makeImage, sha256 } from '../support/made-up-images.js'
import { openMirror } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { runCommand, type Said } from './run-command.js'
import { inOrder, normalise, screenOf } from './screens.js'

const BASE = '11111111-1111-4111-8111-111111111111'
const APP = '22222222-2222-4222-8222-222222222222'
const OTHER = '33333333-3333-4333-8333-333333333333'
const NOBODYS = '99999999-9999-4999-8999-999999999999'

const bytesOf = (seed: number, length: number) => Buffer.alloc(length, `image ${seed}: nothing to see here; `)
const IMAGES = [
  makeImage({ uuid: BASE, name: 'base-64', version: '21.4.0' }, bytesOf(1, 3_000_000)),
  makeImage({ uuid: APP, name: 'app', version: '1.0.0', origin: BASE }, bytesOf(2, 40_000)),
  makeImage({ uuid: OTHER, name: 'other', version: '2.0.0' }, bytesOf(3, 50_000)),
]
const blobOf = (index: number) => {
  const hex = sha256(IMAGES[index]!.files[0]!)
  return join('blobs', 'sha256', hex.slice(0, 2), hex)
}

/** What a mirror has left behind that held two images, one of them pinned, and knew of a third. */
let left: string
/** What it said of them while it ran. */
let whileItRan: unknown

beforeAll(async () => {
  left = await mkdtemp(join(tmpdir(), 'imgapi-mirror-left-'))
  const upstream = await startSdcImgapi({ images: IMAGES })
  const mirror = await openMirror({ data: left, upstreams: [{ name: 'central', url: upstream.url }] })
  await mirror.settled()
  const url = ['--url', mirror.operatorUrl]
  for (const words of [
    ['import', APP],
    ['pin', BASE, '--reason', 'all builds on it'],
  ]) {
    expect(await runCommand([...words, ...url], { environment: { USER: 'tester' } })).toMatchObject({ code: 0 })
  }
  whileItRan = JSON.parse((await runCommand(['list', '-j', ...url])).out)
  await mirror.close()
  await upstream.close()
})
afterAll(() => rm(left, { recursive: true, force: true }))

/** A copy to spoil. */
async function copyOfWhatIsLeft(): Promise<string> {
  const copy = await temporaryDirectory()
  await cp(left, copy, { recursive: true })
  return copy
}

/** As somebody types it beside the config file of a mirror that does not run. */
function type(line: string, { data = left, ...changes }: Parameters<typeof runCommand>[1] & { data?: string } = {}) {
  const config = `operator: 127.0.0.1:1\ndata: ${data}\nupstreams: [{name: central, url: 'http://127.0.0.1:1'}]\n`
  return runCommand(line.split(' '), { openData, readFile: async () => config, ...changes })
}

/** Every file and directory, with its size and when it was changed. */
async function everythingIn(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true })
  const describeFile = async (name: string) => {
    const { ctimeMs, size } = await stat(join(directory, name))
    return `${name} ${size} ${ctimeMs}`
  }
  return (await Promise.all(names.map(describeFile))).sort()
}

describe('without a mirror that runs', () => {
  it('commands look like golden/without-a-mirror.txt', async () => {
    let transcript = ''
    for (const [line, columns] of [
      ['status', 80],
      ['list', 80],
      ['list', 200],
      ['list'],
      ['avail name=other -o uuid,name,held'],
      [`show ${APP}`, 80],
      [`show -m ${APP}`],
      [`show ${NOBODYS}`],
      [`ancestry ${APP}`, 80],
      ['verify', 80],
      ['verify'],
      [`verify ${OTHER}`],
      ['verify --no-wait'],
      [`pin ${APP}`],
      ['list --data DIR --url http://127.0.0.1:1'],
    ] as const) {
      const terminal = columns === undefined ? {} : { terminal: { columns: () => columns } }
      const { code, err, out } = await type(line.replace('DIR', left), terminal)
      const where = columns === undefined ? '' : `   # ${columns} columns`
      const said = `${normalise(err)}${normalise(inOrder(screenOf(out)))}`.replaceAll(left, 'DIR')
      transcript += `$ imgapi-mirror ${line}${where}\n${said}=> ${code}\n\n`
    }
    await expect(transcript).toMatchFileSnapshot(fileURLToPath(new URL('golden/without-a-mirror.txt', import.meta.url)))
  })

  it('say what a mirror said that ran, but for when files were last read', async () => {
    const { out } = await type('list -j')
    const rows = (whileItRan as object[]).map((row) => ({ ...row, lastReadMs: null }))
    expect(JSON.parse(out)).toEqual(rows)
  })

  it('change nothing, not even the time of a file', async () => {
    const before = await everythingIn(left)
    for (const line of ['status', 'list', 'avail', `show ${APP}`, `ancestry ${APP}`, 'verify']) {
      expect(await type(line)).toMatchObject({ code: 0 })
    }
    expect(await everythingIn(left)).toEqual(before)
  })

  it('read a directory that a mirror uses, when they are told to, and disturb nobody', async () => {
    const data = await copyOfWhatIsLeft()
    const mirror = await openMirror({ data, upstreams: [] })
    try {
      expect(await runCommand(['list', '-H', '-o', 'name', '--data', data], { openData })).toMatchObject({
        code: 0,
        err: '',
        out: 'app\nbase-64\n',
      })
      expect(await runCommand(['verify', '--data', data], { openData })).toMatchObject({ code: 0 })
    } finally {
      await mirror.close()
    }
  })

  it.each<[fault: string, spoil: (data: string) => Promise<unknown>, complaint: RegExp]>([
    [
      'a byte is flipped',
      async (data) => {
        const bytes = await readFile(join(data, blobOf(0)))
        bytes[2_000_000] = bytes[2_000_000]! ^ 1
        await writeFile(join(data, blobOf(0)), bytes)
      },
      /failed .*base-64 21\.4\.0: its sha256 is \w+, not \w+; wrong from byte 1048576, 1 of 3 MiB/,
    ],
    [
      'its end is missing',
      (data) => truncate(join(data, blobOf(0)), 2_999_999),
      /it has 2999999 bytes instead of 3000000/,
    ],
    [
      'there is more than there was',
      (data) => appendFile(join(data, blobOf(0)), '!'),
      /3000001 bytes instead of 3000000/,
    ],
    ['it is gone', (data) => rm(join(data, blobOf(0))), /base-64 21\.4\.0: its file is not here/],
    [
      'what names it is damaged',
      (data) => writeFile(join(data, 'images', `${BASE}.json`), '{"manifest":{}}'),
      /failed +1{8}-\S+ +\S+\.json is damaged\n[\s\S]*1 file good, 0 damaged, 1 record of images damaged/,
    ],
  ])('verify finds that of a file %s, and leaves it alone', async (_fault, spoil, complaint) => {
    const data = await copyOfWhatIsLeft()
    await spoil(data)
    const before = await everythingIn(data)
    const { code, out } = await type('verify', { data })
    expect(out).toMatch(complaint)
    expect(code).toBe(1)
    expect(await everythingIn(data)).toEqual(before)
  })

  it('verify finds bytes whose every digest was forged but the one that their manifest declares', async () => {
    const data = await copyOfWhatIsLeft()
    const forged = bytesOf(7, 3_000_000)
    const hex = sha256(forged)
    const record = await readFile(join(data, 'images', `${BASE}.json`), 'utf8')
    const { sealJson } = await import('../../src/store/sealed-json.js')
    const { crc32: _seal, ...image } = JSON.parse(record)
    image.files[0].sha256 = hex
    await writeFile(join(data, 'images', `${BASE}.json`), sealJson(JSON.stringify(image)))
    await cp(join(data, blobOf(0)), join(data, 'blobs', 'sha256', hex.slice(0, 2), hex))
    await writeFile(join(data, 'blobs', 'sha256', hex.slice(0, 2), hex), forged)
    const { code, out } = await type('verify', { data })
    expect(out).toMatch(/base-64 21\.4\.0: its sha1 is [0-9a-f]{40}, not [0-9a-f]{40}/)
    expect(code).toBe(1)
  })

  it('verify leaves at Ctrl-C, and says how far it was', async () => {
    const stop = new AbortController()
    const { code, err } = await type('verify', {
      stop: stop.signal,
      terminal: { columns: () => 80 },
      write: () => stop.abort('SIGINT'),
    })
    expect(err).toMatch(/\nimgapi-mirror: stopped after [012] of 2; nothing was changed\n$/)
    expect(code).toBe(1)
  })

  it('say that there is neither a mirror nor a directory, and how to start one', async () => {
    const { code, err } = await type('list', { data: '/nowhere/at/all' })
    expect(err).toBe(
      'imgapi-mirror: no mirror answers at http://127.0.0.1:1; is it running? (imgapi-mirror serve --config config.yaml); and there is no data directory /nowhere/at/all\n',
    )
    expect(code).toBe(1)
  })

  it('read nothing that a newer release wrote', async () => {
    const data = await copyOfWhatIsLeft()
    await writeFile(join(data, 'FORMAT'), 'imgapi-mirror data, format 99\n')
    const { code, err } = await runCommand(['list', '--data', data], { openData })
    expect([code, err]).toEqual([1, expect.stringContaining('has format 99, written by a newer release')])
  })

  it('read no directory here for a mirror elsewhere', async () => {
    const elsewhere: Promise<Said> = type('list --url http://127.0.0.1:1')
    expect((await elsewhere).err).toBe(
      'imgapi-mirror: no mirror answers at http://127.0.0.1:1; is it running? (imgapi-mirror serve)\n',
    )
  })
})
