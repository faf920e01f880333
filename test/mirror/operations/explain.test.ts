import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { expect, it, onTestFinished } from 'vitest'
import { run } from '../../../src/cli/run.js'
import type { Surroundings } from '../../../src/cli/surroundings.js'
import { explain as endpoint } from '../../../src/http/operator/api/explain.js'
import type { Explanation } from '../../../src/mirror/operations/explanation.js'
import { makeImage, uuidOf } from '../../support/made-up-images.js'
import { layerBytes, servedLayers } from '../../support/made-up-layers.js'
import { PUBLISHING, tell } from '../../support/publishing-mirror.js'
import { RecordingLog } from '../../support/recording-log.js'
import { type RunningMirror, startMirror, until } from '../../support/running-mirror.js'
import { startRangeImgapi } from '../../support/upstreams/range-imgapi.js'
import type { ServedImage } from '../../support/upstreams/serve.js'
import { blobPath, flipBit } from '../keeping/damage.js'

const BYTES = Buffer.alloc(100_000, 'a')

/** `n` makes a uuid that a golden file can have in it. */
function imageNumber(n: number, more: Record<string, unknown> = {}, bytes = BYTES): ServedImage {
  return makeImage({ uuid: numbered(n), name: `image-${n}`, ...more }, bytes)
}

function numbered(n: number): string {
  return `aaaaaaaa-0000-4000-8000-${String(n).padStart(12, '0')}`
}

async function upstreamWith(...images: ServedImage[]) {
  const upstream = await startRangeImgapi(images)
  onTestFinished(() => upstream.close())
  return {
    url: upstream.url,
    close: () => upstream.close(),
    remove: (uuid: string) =>
      void images.splice(
        images.findIndex((image) => uuidOf(image) === uuid),
        1,
      ),
  }
}

async function mirrorOf(settings: Record<string, unknown>): Promise<RunningMirror> {
  const mirror = await startMirror({ refresh: '100ms', missTtl: '0s', scrub: { every: 'never' }, ...settings })
  await mirror.settled()
  return mirror
}

/** What the mirror says, held to its shape; golden with times and ports made alike. */
async function explain(mirror: RunningMirror, what: string): Promise<Explanation & { golden: string }> {
  const response = await fetch(`${mirror.operatorUrl}/api/explain/${encodeURIComponent(what)}`)
  expect(response.status).toBe(200)
  const answer = (await response.json()) as Explanation
  expect(endpoint.answer.safeParse(answer).error?.issues ?? []).toEqual([])
  // Entries reach the ledger's files about a second after what they tell of.
  const ledgerAt = answer.words.indexOf('What the ledger says last:')
  const golden = answer.words
    .slice(0, ledgerAt === -1 ? undefined : ledgerAt)
    .map((line) => line.replace(/20[23]\d-\d\d-\d\dT[\d:.]+Z/g, 'TIME').replace(/127\.0\.0\.1:\d+/g, 'HOST'))
    .join('\n')
  return { ...answer, golden: `${golden}\n` }
}

async function pull(mirror: RunningMirror, uuid: string): Promise<void> {
  const response = await fetch(`${mirror.url}/images/${uuid}/file`)
  expect(response.status).toBe(200)
  await response.arrayBuffer()
  await until(async () => (await explain(mirror, uuid)).image?.held != null)
}

const codesOf = ({ image }: Explanation) => image?.reasons.map(({ code }) => code)

it('says of an image that is listed, and of one that is held, pinned and an origin, all there is to say', async () => {
  const [base, leaf] = [imageNumber(1), imageNumber(2, { origin: numbered(1) }, Buffer.alloc(50_000, 'b'))]
  const one = await upstreamWith(base, leaf)
  const two = await upstreamWith(base)
  const mirror = await mirrorOf({
    pins: ['name=image-2'],
    quota: '10MiB',
    upstreams: [
      { name: 'one', url: one.url },
      { name: 'two', url: two.url },
    ],
  })
  const before = await explain(mirror, numbered(2))
  expect([before.image?.isListed, before.image?.isServed, codesOf(before)]).toEqual([true, true, []])
  expect(before.image?.offlineLacks).toEqual([numbered(2), numbered(1)])
  await expect(before.golden).toMatchFileSnapshot('golden/listed.txt')
  await pull(mirror, numbered(1))
  await pull(mirror, numbered(2))
  const leafNow = await explain(mirror, 'image-2')
  expect(leafNow.image?.held?.files[0]).toMatchObject({
    sizeBytes: 50_000,
    sources: [{ upstream: 'one', bytes: 50_000 }],
  })
  expect(leafNow.image?.offlineLacks).toEqual([])
  await expect(leafNow.golden).toMatchFileSnapshot('golden/held-and-pinned.txt')
  const baseNow = await explain(mirror, 'image-1@1.0.0')
  expect(baseNow.image?.pins).toMatchObject([{ pin: 'name=image-2', through: { uuid: numbered(2) } }])
  expect(baseNow.image?.eviction?.mayLeave).toBe(false)
  await expect(baseNow.golden).toMatchFileSnapshot('golden/origin-of-pinned.txt')
})

it('says what the ledger tells of an image, newest last', async () => {
  const one = await upstreamWith(imageNumber(1))
  const mirror = await mirrorOf({ upstreams: [{ name: 'one', url: one.url }] })
  await pull(mirror, numbered(1))
  const kinds = async () => (await explain(mirror, numbered(1))).image?.ledger.map(({ kind }) => kind) ?? []
  await until(async () => (await kinds()).length > 1)
  expect((await kinds())[0]).toBe('claimed')
  expect((await explain(mirror, numbered(1))).words.join('\n')).toMatch(
    /What the ledger says last:\n {2}\S+Z claimed \(one\)\n/,
  )
})

it('says after whom a held image would leave', async () => {
  const one = await upstreamWith(imageNumber(1), imageNumber(2, {}, randomBytes(70_000)))
  const mirror = await mirrorOf({ upstreams: [{ name: 'one', url: one.url }] })
  await pull(mirror, numbered(1))
  await pull(mirror, numbered(2))
  expect((await explain(mirror, numbered(1))).image?.eviction?.before).toMatchObject({ count: 0 })
  const { image, words } = await explain(mirror, numbered(2))
  expect(image?.eviction?.before).toEqual({ count: 1, bytes: 100_000, last: numbered(1) })
  expect(words.join('\n')).toContain(
    `leave after 1 other with 100000 bytes, the last of them ${numbered(1)} (image-1 1.0.0)`,
  )
})

it('says which filter leaves an image out, by uuid and by name, and what was wrong with one set aside', async () => {
  const rubbish = imageNumber(3, { os: 17 })
  const one = await upstreamWith(
    imageNumber(1),
    imageNumber(2, { os: 'linux', state: 'disabled' }),
    rubbish,
    imageNumber(4),
  )
  const mirror = await mirrorOf({
    upstreams: [{ name: 'one', url: one.url, include: ['os=smartos'], exclude: ['name=image-1'] }],
  })
  const excluded = await explain(mirror, 'image-1')
  expect([codesOf(excluded), excluded.image?.isServed]).toEqual([['left out'], false])
  expect(excluded.image?.upstreams).toMatchObject([{ says: 'left out', why: 'exclude: "name=image-1"' }])
  await expect(excluded.golden).toMatchFileSnapshot('golden/left-out.txt')
  const { words } = await explain(mirror, numbered(2))
  expect(words).toContain('  Our filters leave it out: of one by none of include: "os=smartos".')
  const aside = await explain(mirror, numbered(3))
  expect(aside.image?.upstreams).toMatchObject([{ says: 'set aside', why: expect.stringContaining('os') }])
  await expect(aside.golden).toMatchFileSnapshot('golden/set-aside.txt')
})

it('says who disagrees about a withheld image, by which policy, what builds on it, and how to decide', async () => {
  const leaf = imageNumber(2, { origin: numbered(1) })
  const one = await upstreamWith(imageNumber(1), leaf)
  const two = await upstreamWith(imageNumber(1, {}, Buffer.alloc(100_000, 'x')))
  const upstreams = [
    { name: 'one', url: one.url },
    { name: 'two', url: two.url },
  ]
  const mirror = await mirrorOf({ conflicts: 'withhold', upstreams })
  const withheld = await explain(mirror, numbered(1))
  expect([codesOf(withheld), withheld.image?.isListed, withheld.image?.isServed]).toEqual([['withheld'], false, false])
  await expect(withheld.golden).toMatchFileSnapshot('golden/withheld.txt')
  const below = await explain(mirror, numbered(2))
  expect(codesOf(below)).toEqual(['origin withheld'])
  await expect(below.golden).toMatchFileSnapshot('golden/origin-withheld.txt')
  const disputed = await explain(await mirrorOf({ upstreams }), numbered(1))
  expect(disputed.image).toMatchObject({ stands: 'one', isServed: true, policy: { policy: 'prefer-order' } })
  await expect(disputed.golden).toMatchFileSnapshot('golden/disputed.txt')
})

it('says that nobody has it, who could not be asked, and since when it is withdrawn', async () => {
  const one = await upstreamWith(imageNumber(1), imageNumber(2))
  const two = await upstreamWith(imageNumber(2))
  const mirror = await mirrorOf({
    upstreams: [
      { name: 'one', url: one.url },
      { name: 'two', url: two.url },
    ],
  })
  await expect((await explain(mirror, numbered(9))).golden).toMatchFileSnapshot('golden/unknown.txt')
  expect((await explain(mirror, 'no-such-name')).image).toBeNull()
  one.remove(numbered(1))
  await until(async () => codesOf(await explain(mirror, numbered(1)))?.[0] === 'withdrawn')
  await expect((await explain(mirror, numbered(1))).golden).toMatchFileSnapshot('golden/withdrawn.txt')
  await two.close()
  await until(async () => (await explain(mirror, numbered(9))).image?.upstreams[1]?.error !== null)
  const silent = await explain(mirror, numbered(9))
  expect(silent.image?.upstreams).toMatchObject([{ says: 'has none' }, { says: 'unknown' }])
  expect(silent.image?.reasons[0]?.text).toBe('No upstream has it; two could not be asked.')
})

it('says why what is held or answered is in no list: state, unlisted, hidden', async () => {
  const one = await upstreamWith(imageNumber(1, { state: 'disabled' }), imageNumber(2))
  const mirror = await mirrorOf({ withdrawn: 'hide', upstreams: [{ name: 'one', url: one.url }] })
  const disabled = await explain(mirror, numbered(1))
  expect([codesOf(disabled), disabled.image?.isServed]).toEqual([['not active'], true])
  await pull(mirror, numbered(2))
  one.remove(numbered(2))
  await until(async () => codesOf(await explain(mirror, numbered(2)))?.[0] === 'hidden')
  expect((await explain(mirror, numbered(2))).image?.isServed).toBe(true)
})

it('says in which channels an image is, and that one in none is not seen', async () => {
  const one = await upstreamWith(imageNumber(1, { channels: ['release'] }), imageNumber(2, { channels: ['elsewhere'] }))
  const mirror = await mirrorOf({
    channels: [{ name: 'release', default: true }],
    upstreams: [{ name: 'one', url: one.url, channel: '*' }],
  })
  expect((await explain(mirror, numbered(1))).image).toMatchObject({ channels: ['release'], isListed: true })
  expect(codesOf(await explain(mirror, numbered(2)))).toEqual(['no channel'])
})

it('says of a private image who sees it, and of one published here by whom, and that it never leaves', async () => {
  const mirror = await mirrorOf({ mode: 'private', upstreams: [], ...PUBLISHING })
  const made = await tell(mirror.url, 'POST', '/images', {
    owner: numbered(7),
    name: 'mine',
    version: '1',
    type: 'zone-dataset',
    os: 'smartos',
    public: false,
  })
  expect(made.status, made.text).toBe(200)
  const own = await explain(mirror, 'mine')
  expect(codesOf(own)).toEqual(['not active', 'private'])
  expect(own.image?.held?.publishedBy).toBe('builder')
  const golden = own.golden.replaceAll(String(made.body.uuid), numbered(1))
  await expect(golden).toMatchFileSnapshot('golden/published-here.txt')
})

it('says what an offline mirror lacks', async () => {
  const one = await upstreamWith(imageNumber(1), imageNumber(2, { origin: numbered(1) }, Buffer.alloc(9_000, 'c')))
  const settings = { upstreams: [{ name: 'one', url: one.url }] }
  const online = await mirrorOf(settings)
  await pull(online, numbered(2))
  await online.close()
  const offline = await startMirror({ ...settings, offline: true, data: online.dataDirectory })
  const answer = await explain(offline, numbered(2))
  expect([codesOf(answer), answer.image?.offlineLacks]).toEqual([['incomplete offline'], [numbered(1)]])
  await expect(answer.golden).toMatchFileSnapshot('golden/incomplete-offline.txt')
})

it('does not say that clients get an image of which the file is damaged here, and gone elsewhere', async () => {
  const bytes = Buffer.alloc(20_000, 'd')
  const one = await upstreamWith(imageNumber(1, {}, bytes))
  const before = await mirrorOf({ upstreams: [{ name: 'one', url: one.url }] })
  await pull(before, numbered(1))
  expect(codesOf(await explain(before, numbered(1)))).toEqual([])
  await before.close()
  const mirror = await startMirror({ upstreams: [], data: before.dataDirectory })
  await flipBit(blobPath(mirror.dataDirectory, bytes), 10_000)
  const headers = { 'content-type': 'application/json' }
  await fetch(`${mirror.operatorUrl}/api/verify`, { method: 'POST', headers, body: '{}' })
  await until(async () => codesOf(await explain(mirror, numbered(1)))?.includes('file lost') ?? false)
  expect((await fetch(`${mirror.url}/images/${numbered(1)}`)).status).toBe(200)
  expect((await fetch(`${mirror.url}/images/${numbered(1)}/file`)).status).toBe(503)
  const { words } = await explain(mirror, numbered(1))
  expect(words[1]).toBe('It is in our list, but who asks for it gets its manifest and no file.')
  expect(words).toContain('  What was kept of it is damaged, and nobody has it to mend that.')
})

it('says where a ring of origins bites its tail', async () => {
  const one = await upstreamWith(imageNumber(1, { origin: numbered(2) }), imageNumber(2, { origin: numbered(1) }))
  const answer = await explain(await mirrorOf({ upstreams: [{ name: 'one', url: one.url }] }), numbered(1))
  expect(codesOf(answer)).toEqual(['ancestry broken'])
  expect(answer.image?.brokenAncestry).toMatch(/ring of origins/)
})

it('finds a name, its newest first, and the layer that a tag of Docker means', async () => {
  const layers = servedLayers([layerBytes(), layerBytes()])
  const top = layers.at(-1)!
  const tags = top.manifest.tags as Record<string, unknown>
  const tag = Object.keys(tags)
    .find((key) => key.startsWith('docker:tag:'))!
    .slice('docker:tag:'.length)
  const [old, fresh] = [
    imageNumber(1, { name: 'base', version: '1', published_at: '2020-01-01T00:00:00.000Z' }),
    imageNumber(2, { name: 'base', version: '2', published_at: '2024-01-01T00:00:00.000Z' }),
  ]
  const one = await upstreamWith(old, fresh, ...layers)
  const mirror = await mirrorOf({ upstreams: [{ name: 'one', url: one.url }] })
  const named = await explain(mirror, 'base')
  expect([named.image?.uuid, named.others, named.otherCount]).toEqual([
    numbered(2),
    [{ uuid: numbered(1), name: 'base', version: '1' }],
    1,
  ])
  expect((await explain(mirror, 'base@1')).image?.uuid).toBe(numbered(1))
  expect((await explain(mirror, `${String(tags['docker:repo'])}:${tag}`)).image?.uuid).toBe(uuidOf(top))
})

it('is pointed to by what clients are refused, for every uuid alike, and answers on the command line', async () => {
  const one = await upstreamWith(imageNumber(1))
  const two = await upstreamWith(imageNumber(1, {}, Buffer.alloc(10, 'x')))
  const mirror = await mirrorOf({
    conflicts: 'withhold',
    upstreams: [
      { name: 'one', url: one.url },
      { name: 'two', url: two.url },
    ],
  })
  for (const path of ['/images/', '/datasets/']) {
    const unknown = await fetch(`${mirror.url}${path}${numbered(9)}`)
    expect([unknown.status, unknown.headers.get('x-explain')]).toEqual([404, `imgapi-mirror explain ${numbered(9)}`])
  }
  const withheld = await fetch(`${mirror.url}/images/${numbered(1)}/file`)
  expect(withheld.headers.get('x-explain')).toBe(`imgapi-mirror explain ${numbered(1)}`)
  expect(((await withheld.json()) as { message: string }).message).toMatch(
    `"imgapi-mirror explain ${numbered(1)}" tells more`,
  )
  const seen = { out: '', err: '' }
  const surroundings: Surroundings = {
    version: '1.2.3',
    environment: { IMGAPI_MIRROR_URL: mirror.operatorUrl },
    write: (text) => {
      seen.out += text
    },
    complain: (text) => {
      seen.err += text
    },
    readFile: () => Promise.reject(Object.assign(new Error('no such file'), { code: 'ENOENT' })),
    openInput: async () => ({ stream: Readable.from([]), sizeBytes: undefined }),
    stop: new AbortController().signal,
    makeLog: () => new RecordingLog(),
    assemble: () => Promise.reject(new Error('nothing is started')),
  }
  expect(await run(['explain', numbered(1)], surroundings)).toBe(1)
  expect(seen.out).toBe(`${(await explain(mirror, numbered(1))).words.join('\n')}\n`)
  seen.out = ''
  expect(await run(['explain', '-j', 'no-such-name'], surroundings)).toBe(1)
  expect(JSON.parse(seen.out)).toMatchObject({ asked: 'no-such-name', image: null })
})
