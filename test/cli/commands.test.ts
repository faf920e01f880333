import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deferred } from '../../src/parts/deferred.js'
import { makeImage } from '../support/made-up-images.js'
import { openMirror, type RunningMirror } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { TestServer } from '../support/upstreams/serve.js'
import { runCommand, type Said } from './run-command.js'
import { inOrder, normalise, screenOf } from './screens.js'

const BASE = '11111111-1111-4111-8111-111111111111'
const APP = '22222222-2222-4222-8222-222222222222'
const LINUX = '33333333-3333-4333-8333-333333333333'
const NOBODYS = '99999999-9999-4999-8999-999999999999'

/** A window that is not while this runs, whenever that is. */
function anotherDay(): string {
  const day = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][(new Date().getUTCDay() + 3) % 7]
  return `${day} 10:00-11:00`
}

/** Bytes that are the same every time, and so their digests. */
const bytesOf = (seed: number, length: number) => Buffer.alloc(length, `image ${seed}: nothing to see here; `)

const IMAGES = [
  makeImage({ uuid: BASE, name: 'base-64', version: '21.4.0' }, bytesOf(1, 300_000)),
  makeImage(
    {
      uuid: APP,
      name: 'a-name-as-long-as-people-make-them',
      version: '1.0.0-rc.1+build.20240506',
      origin: BASE,
      published_at: '2024-06-07T08:09:10.000Z',
    },
    bytesOf(2, 40_000),
  ),
  makeImage(
    {
      uuid: LINUX,
      name: 'ubuntu',
      version: '22.04',
      os: 'linux',
      type: 'lx-dataset',
      published_at: '2023-01-02T03:04:05.000Z',
    },
    bytesOf(3, 2_000_000),
  ),
]

type Session = readonly (readonly [line: string, columns?: number])[]

function atEveryWidth(line: string): Session {
  return [[line, 80], [line, 200], [line]]
}

describe('a command', () => {
  let upstream: TestServer
  let mirror: RunningMirror
  let directory: string
  /** Until then, half of the largest file is all that comes of it. */
  let release = deferred<void>()

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'imgapi-mirror-cli-'))
    upstream = await startSdcImgapi({
      images: IMAGES,
      intercept: (request, response) => {
        if (!request.url?.startsWith(`/images/${LINUX}/file`)) return false
        const bytes = IMAGES[2]!.files[0]!
        response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 1_000_000))
        void release.promise.then(() => response.end(bytes.subarray(1_000_000)))
        return true
      },
    })
    mirror = await openMirror({
      data: directory,
      upstreams: [{ name: 'central', url: upstream.url }],
      prewarm: [{ name: 'elsewhen', match: ['os=smartos'], latest: 1, windows: [anotherDay()], budget: '1GiB' }],
    })
    await mirror.settled()
  })
  afterAll(async () => {
    await mirror?.close()
    await upstream?.close()
    await rm(directory, { recursive: true, force: true })
  })

  const ask = (line: string, columns?: number): Promise<Said> =>
    runCommand([...line.split(' '), '--url', mirror.operatorUrl], {
      environment: { USER: 'tester' },
      ...(columns !== undefined && { terminal: { columns: () => columns } }),
    })

  /** In the order in which an operator might; each finds what those before it have left. A number is a terminal's width. */
  const SESSIONS: Record<string, Session> = {
    avail: [
      ...atEveryWidth('avail'),
      ['avail name=~ub os!=smartos -o uuid,size,state'],
      ['avail -H -o uuid -s -size'],
      ['avail colour=red'],
      ['avail -o colour'],
    ],
    plan: [
      ...atEveryWidth('plan'),
      ['plan --match name=ubuntu --rate 1Mbit/s -H -o name,fetch,outcome'],
      ['plan --policy nobodys'],
      ['plan --latest many'],
    ],
    prewarm: [
      ...atEveryWidth('prewarm'),
      ...atEveryWidth('prewarm run nobodys'),
      ['prewarm -o policy,held,late,noroom'],
    ],
    import: [[`import ${APP}`], ...atEveryWidth(`import ${APP}`), [`import ${NOBODYS}`], ['import base']],
    list: [...atEveryWidth('list'), ['list -o name,held,upstream,origin -s name'], ['list name=nothing']],
    show: [...atEveryWidth(`show ${APP}`), [`show ${LINUX}`], [`show -m ${BASE}`], [`show ${NOBODYS}`]],
    explain: [...atEveryWidth(`explain ${APP}`), ['explain ubuntu', 80], ['explain nothing'], [`explain ${NOBODYS}`]],
    ancestry: [
      ...atEveryWidth(`ancestry ${APP}`),
      [`ancestry -H -o uuid ${APP}`],
      [`ancestry ${LINUX}`, 80],
      [`ancestry ${NOBODYS}`],
    ],
    pin: [
      ...atEveryWidth(`pin ${APP} --reason important`),
      ['list -o name,pinned'],
      [`delete ${APP}`],
      ...atEveryWidth(`unpin ${APP}`),
      [`pin ${NOBODYS}`],
    ],
    verify: [...atEveryWidth('verify'), [`verify ${BASE}`], [`verify ${LINUX}`]],
    scrub: atEveryWidth('scrub'),
    refresh: [...atEveryWidth('refresh'), ['refresh nobody']],
    upstreams: [
      ...atEveryWidth('upstreams'),
      ['sources', 80],
      ['upstreams -c'],
      ['upstreams -o name,state,images,setaside'],
    ],
    status: [['prewarm -o policy,state'], ...atEveryWidth('status')],
    reload: [...atEveryWidth('reload'), ['reload -j']],
    'audit-compare': atEveryWidth('audit compare'),
    vacuum: [
      ...atEveryWidth('vacuum -n'),
      ['vacuum -n --free 1B -o uuid,name,version,frees', 80],
      ['vacuum --free 10GiB'],
      ['vacuum --free much'],
    ],
    adopt: [...atEveryWidth('adopt /nowhere'), ['adopt']],
    delete: [
      [`import ${APP}`],
      [`delete ${BASE}`],
      [`delete ${APP}`, 80],
      [`delete ${APP}`],
      [`delete ${APP}`, 200],
      ['list -H -o name'],
    ],
    export: [
      ...atEveryWidth('export -n --select name=~a'),
      [`export -n --select ${APP} ${NOBODYS}`],
      ['export -n --select name=ubuntu --volume-size 2MB --volumes 1,2'],
      ['export'],
      ['export -n --parity 90%'],
      ['export -n --since yesterday'],
      ['export -n --by size'],
      ['export -n --select nam=base'],
    ],
    jobs: [...atEveryWidth('jobs -o state,done,title,by,kind'), ['jobs nonsense'], ['jobs --cancel']],
  }

  it.each(Object.keys(SESSIONS))('looks like golden/%s.txt', async (name) => {
    let transcript = ''
    for (const [line, columns] of SESSIONS[name]!) {
      const { code, err, out } = await ask(line, columns)
      const where = columns === undefined ? '' : `   # ${columns} columns`
      const screen = screenOf(out)
      transcript += `$ imgapi-mirror ${line}${where}\n${normalise(inOrder(screen) + err)}=> ${code}\n\n`
      for (const each of screen.split('\n')) {
        if (columns) expect([...each].length, `${line}: ${each}`).toBeLessThanOrEqual(columns)
      }
    }
    const path = fileURLToPath(new URL(`golden/${name}.txt`, import.meta.url))
    await expect(transcript).toMatchFileSnapshot(path)
  })

  it('leaves the work to the mirror when somebody presses Ctrl-C, and says how to look again', async () => {
    const stop = new AbortController()
    release = deferred<void>()
    const args = ['import', LINUX, '--url', mirror.operatorUrl]
    const left = await runCommand(args, {
      stop: stop.signal,
      terminal: { columns: () => 80 },
      // As soon as something is drawn.
      write: () => stop.abort('SIGINT'),
    })
    const again = /^imgapi-mirror: the mirror goes on; to look again: imgapi-mirror jobs ([0-9a-f]{8}) --follow\n$/
    expect(left.code).toBe(1)
    expect(left.err).toMatch(again)

    const id = again.exec(left.err)![1]!
    expect(JSON.parse((await ask(`jobs ${id} -j`)).out)).toMatchObject({ state: 'running' })
    release.resolve()
    const followed = await ask(`jobs ${id} --follow`)
    expect(followed.out).toContain(`import of image ${LINUX}: done, 1 of 1`)
    expect(followed.code).toBe(0)
    await ask(`delete ${LINUX}`)
  })

  it('exports to a directory what an inventory wants, and says what is where', async () => {
    const site = join(directory, 'site.inv')
    const asked = await ask('inventory --select name=~a-name')
    expect(asked).toMatchObject({ code: 0, err: '' })
    await writeFile(site, asked.out)
    const line = `export --for ${site} -o ${join(directory, 'usb')}`
    const { code, err, out } = await ask(line)
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/^Bundle [0-9a-f]{12}: 1 image, \d+ KiB in imgapi-[0-9a-f]{12}$/m)
    expect((await ask(line)).out.split('\n').at(-2)).toBe(out.split('\n').at(-2))
    const there = await ask(`export --for ${site} --select name=base-64 -o ${join(directory, 'usb')}`)
    expect(there).toMatchObject({ code: 0, out: expect.stringContaining('Nothing is to be packed.') })
  })

  it('takes in a directory, and names what it did not take', async () => {
    const found = await mkdtemp(join(tmpdir(), 'imgapi-mirror-found-'))
    const good = makeImage({ name: 'found' }, bytesOf(7, 5000))
    const bad = makeImage({ name: 'spoilt' }, bytesOf(8, 6000))
    for (const [{ manifest, files }, bytes] of [
      [good, good.files[0]!],
      [bad, bytesOf(9, 6000)],
    ] as const) {
      expect(files).toHaveLength(1)
      await writeFile(join(found, `${String(manifest.name)}.imgmanifest`), JSON.stringify(manifest))
      await writeFile(join(found, `${String(manifest.name)}.zfs`), bytes)
    }
    const { code, out } = await ask(`adopt ${found}`)
    expect(out).toMatch(/^done .*found 1\.0\.0/m)
    expect(out).toMatch(/^failed .*spoilt 1\.0\.0/m)
    expect(out).toContain('1 image taken in (4.9 KiB), 0 held already, 1 not taken\n')
    expect(code).toBe(1)
    await rm(found, { recursive: true })
  })

  it('takes no directory without a manifest for one that was taken in', async () => {
    const found = await mkdtemp(join(tmpdir(), 'imgapi-mirror-found-'))
    await writeFile(join(found, 'a'.repeat(64)), bytesOf(7, 5000))
    const { code, err } = await ask(`adopt ${found}`)
    expect(code).toBe(1)
    expect(err).toContain('what is looked for are files named manifest, *.json, *.imgmanifest')
    expect(await ask(`adopt -j ${found}`)).toMatchObject({ code: 1, err: '' })
    await rm(found, { recursive: true })
  })

  it.each([
    ['explain', 'which image? imgapi-mirror avail lists them'],
    ['jobs', 'which job? imgapi-mirror jobs lists them'],
  ])('%s asks back what an empty argument was to be', async (command, question) => {
    const { code, err } = await runCommand([command, '', '--url', mirror.operatorUrl])
    expect([code, err]).toEqual([2, `imgapi-mirror: ${question}\n`])
  })

  it("knows imgadm's names of columns", async () => {
    const ours = await ask('avail -o uuid,pub -s -pub')
    expect(ours.out).toMatch(/^[0-9a-f]{8}-.* \d{4}-/m)
    expect(await ask('avail -o uuid,published_at -s -published_at')).toEqual(ours)
  })

  it('stops work when it is told to', async () => {
    release = deferred<void>()
    const { out } = await ask(`import ${LINUX} --no-wait`)
    const id = out.trim()
    expect((await ask(`jobs ${id} --cancel`)).code).toBe(0)
    const { code, err } = await ask(`jobs ${id} --follow`)
    expect([code, err]).toEqual([1, `imgapi-mirror: cancelled by tester (job ${id})\n`])
    release.resolve()
  })

  it('says that no mirror answers, and how to start it', async () => {
    const { code, err } = await runCommand(['list', '--url', 'http://127.0.0.1:1'])
    expect([code, err]).toEqual([
      1,
      'imgapi-mirror: no mirror answers at http://127.0.0.1:1; is it running? (imgapi-mirror serve)\n',
    ])
  })

  it('finds its mirror by the environment, and by its config file', async () => {
    const environment = { IMGAPI_MIRROR_URL: mirror.operatorUrl }
    expect((await runCommand(['list', '-H'], { environment })).code).toBe(0)
    const address = new URL(mirror.operatorUrl).host
    const readFile = async () => `operator: ${address}\ndata: /nowhere\nupstreams: []\noffline: true\n`
    expect(await runCommand(['list', '-H', '--config', 'x.yaml'], { readFile })).toMatchObject({ code: 0, err: '' })
  })

  it('wraps what it says of an image, but never a digest', async () => {
    const { out } = await ask(`show ${BASE}`, 80)
    expect(out).toMatch(/^sha256 +[0-9a-f]{64}$/m)
    for (const line of out.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
  })

  it.each(['avail', 'list', 'vacuum', 'jobs', 'upstreams', 'status', 'refresh'])('%s -j is JSON', async (command) => {
    const { code, out } = await ask(`${command} -j`)
    expect(code).toBe(0)
    expect(typeof JSON.parse(out)).toBe('object')
  })
})
