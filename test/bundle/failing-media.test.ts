import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ImportResult } from '../../src/bundle/bundles.js'
import { uuid } from '../images/manifests.js'
import { madeUpBytes } from '../support/made-up-bytes.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { whyNoPrograms } from '../support/programs.js'
import { canMount, mountSmallDisk, mountStick } from '../support/small-disk.js'
import { temporaryDirectory } from '../support/temporary.js'
import { ClosedSite, type EndedJob } from './closed-site.js'
import { type MadeImage, MIB, madeUpImage, writeMadeUpBundle } from './made-up-bundle.js'
import { sha256Of, signer } from './volumes.js'

const imageOf = (number: number, sizeBytes: number) =>
  madeUpImage(uuid(number), madeUpBytes(sizeBytes, number), { name: `image-${number}` })
/** So many that some of them are still to come when something happens. */
const many = Array.from({ length: 8 }, (_, index) => imageOf(index + 1, 3 * MIB + index))
const small = imageOf(20, 60_000)
const large = imageOf(21, 3 * MIB)

/** A mirror that holds images, which came by a bundle. */
async function siteWith(images: readonly MadeImage[], settings: object = {}): Promise<ClosedSite> {
  const medium = await temporaryDirectory()
  await writeMadeUpBundle(medium, images, { parityPercent: 0 })
  const site = await ClosedSite.start({ scrub: { every: 'never' }, ...settings })
  expect((await site.import(medium)).result).toMatchObject({ imagesHeld: images.length, lacking: [] })
  await fs.rm(medium, { recursive: true })
  return site
}

/** What is written on a medium: paths, and what is in them. */
async function contentsOf(root: string): Promise<Record<string, string>> {
  const entries = await fs.readdir(root, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map(({ name, parentPath }) => join(parentPath, name))
  const sums = paths.map(async (path) => [path.slice(root.length), sha256Of(await fs.readFile(path))] as const)
  return Object.fromEntries(await Promise.all(sums))
}

async function expectServed(site: ClosedSite, images: readonly MadeImage[]): Promise<void> {
  const listed = await site.listed()
  for (const { bytes, image } of images) {
    expect(listed).toContain(image.manifest.uuid)
    expect((await site.file(image.manifest.uuid)).equals(bytes)).toBe(true)
  }
}

/** Somebody else takes all the room that there is. Answers the path of what to remove. */
async function fillUp(root: string): Promise<string> {
  const ballast = join(root, 'holiday-film.mkv')
  for (;;) {
    const { bavail, bsize } = await fs.statfs(root)
    if (bavail === 0) return ballast
    const sizeBytes = await fs.stat(ballast).then(
      ({ size }) => size,
      () => 0,
    )
    try {
      execFileSync('fallocate', ['-l', String(sizeBytes + bavail * bsize), ballast], { stdio: 'pipe' })
    } catch {
      // Whoever writes beside us has had some of it: what is left is less now.
    }
  }
}

describe.skipIf(!canMount)('a medium that an export is written to', () => {
  it('and that somebody else fills meanwhile, fails it in numbers; with room, the same request gives the same bundle', async () => {
    const site = await siteWith(many)
    const [out, undisturbed] = [await mountSmallDisk(64), await temporaryDirectory()]
    const id = await site.begin('export', { select: [], out })
    await site.hasDone(id, 1)
    const ballast = await fillUp(out)
    const failed = await site.ended(id)
    expect(failed).toMatchObject({ state: 'failed', error: { code: 'MEDIUM_FULL' } })
    expect(failed.error!.message).toMatch(/has 0 bytes free: for the rest of volume 1 it lacks \d+$/)
    await expectServed(site, many.slice(0, 1))
    const refused = await site.ended(await site.begin('export', { select: [], out }))
    expect(refused.error).toMatchObject({ code: 'MEDIUM_FULL', message: expect.stringContaining('lacks room for') })

    await fs.rm(ballast)
    const [again, other] = [
      await site.ended(await site.begin('export', { select: [], out })),
      await site.ended(await site.begin('export', { select: [], out: undisturbed })),
    ]
    expect([again.state, other.state]).toEqual(['done', 'done'])
    expect(await contentsOf(out)).toEqual(await contentsOf(undisturbed))
  })

  it('and that is pulled out meanwhile, fails it in words, and goes on with the same request once it is back', async () => {
    const site = await siteWith(many)
    const [stick, undisturbed] = [await mountStick(64), await temporaryDirectory()]
    const id = await site.begin('export', { select: [], out: stick.path })
    await site.hasDone(id, 1)
    stick.pullOut()
    const failed = await site.ended(id)
    expect(failed).toMatchObject({ state: 'failed', error: { code: 'MEDIUM_UNREADABLE' } })
    expect(failed.error!.message).toMatch(/pulled out\? .* same command again/)
    // Nothing went to the directory on which it had been mounted.
    expect(await fs.readdir(stick.path)).toEqual([])
    await expectServed(site, many)

    stick.putBack()
    expect(Object.keys(await contentsOf(stick.path))).not.toEqual([])
    expect((await site.ended(await site.begin('export', { select: [], out: stick.path }))).state).toBe('done')
    expect((await site.ended(await site.begin('export', { select: [], out: undisturbed }))).state).toBe('done')
    expect(await contentsOf(stick.path)).toEqual(await contentsOf(undisturbed))
  })
})

describe('a medium that is imported from', () => {
  it.skipIf(!canMount)(
    'and pulled out meanwhile, fails it in words; what came stays, and the rest comes once it is back',
    async () => {
      const site = await siteWith([small])
      const stick = await mountStick(64)
      const { id: bundle } = await writeMadeUpBundle(stick.path, many)
      const id = await site.begin('import', { path: stick.path })
      await site.hasDone(id, 1)
      stick.pullOut()
      const failed = await site.ended(id)
      expect(failed).toMatchObject({ state: 'failed', error: { code: 'MEDIUM_UNREADABLE' } })
      expect(failed.error!.message).toMatch(/is gone: was it pulled out\? .* same command again/)
      await expectServed(site, [small])
      const awaited = (await site.api('GET', '/api/bundles')).body.awaited
      expect(awaited).toMatchObject([{ bundle, volumesMissing: [1] }])
      const missing = awaited[0].images as { missingBytes: number }[]
      const missingBytes = missing.reduce((sum, image) => sum + image.missingBytes, 0)
      const cameCount = (await site.listed()).length - 1
      expect(cameCount).toBeGreaterThan(0)
      expect(cameCount).toBeLessThan(many.length)

      stick.putBack()
      const { result } = await site.import(stick.path)
      expect(result).toMatchObject({ takenBytes: missingBytes, imagesHeld: many.length - cameCount, lacking: [] })
      await expectServed(site, [small, ...many])
    },
  )

  it('and cut short meanwhile, is healed as far as its parity goes; what is beyond is told, and comes with the next', async () => {
    const site = await siteWith([small])
    const medium = await temporaryDirectory()
    const { volumes } = await writeMadeUpBundle(medium, [...many, large])
    const copy = await temporaryDirectory()
    await fs.cp(volumes[0]!, join(copy, 'volume'), { recursive: true })
    const last = many.at(-1)!
    const id = await site.begin('import', { path: medium })
    await fs.truncate(join(volumes[0]!, 'files', last.image.files[0]!.sha256), 3 * MIB - 100_000)
    const healed = await site.ended(id)
    expect(healed.result).toMatchObject({ imagesHeld: many.length + 1, lacking: [], volumes: [{ outcome: 'taken' }] })
    expect(healed.result.volumes[0]!.healedBlocks).toBeGreaterThan(0)
    await expectServed(site, [...many, large])

    const other = await ClosedSite.start()
    await fs.truncate(join(volumes[0]!, 'files', last.image.files[0]!.sha256), 100)
    await fs.truncate(join(volumes[0]!, 'files', large.image.files[0]!.sha256), 100)
    const damaged = await other.import(medium)
    expect(damaged.state).toBe('done')
    expect(damaged.result.volumes).toMatchObject([{ outcome: 'damaged' }])
    expect(damaged.result.lacking[0]!.images.map((image) => image.uuid)).toEqual([uuid(8), uuid(21)])
    expect((await other.import(copy)).result).toMatchObject({ imagesHeld: 2, lacking: [] })
    await expectServed(other, [...many, large])
  })

  const reason = whyNoPrograms('strace')
  it.skipIf(reason !== undefined).each([
    ['within what its parity heals: all is held', small, []],
    ['beyond what its parity heals: that is told as lacking, and all else is held', large, [uuid(21)]],
  ] as const)('and has a file that the system cannot read, %s', async (_where, unreadable, lacking) => {
    const [medium, directory] = [await temporaryDirectory(), await temporaryDirectory()]
    const { volumes } = await writeMadeUpBundle(medium, [small, large, many[0]!], { parityPercent: 5 })
    const key = join(directory, 'site-a.pub')
    await fs.writeFile(key, signer.publicKey)
    const path = join(volumes[0]!, 'files', unreadable.image.files[0]!.sha256)
    const calls = 'pread64,preadv,read'
    const breaking = ['-P', path, '-e', `trace=${calls}`, '-e', `inject=${calls}:error=EIO`]
    const trace = join(directory, 'refused')
    const mirror = await MirrorProcess.start(
      directory,
      { offline: true, bundles: { trustedKeys: [key] }, scrub: { every: 'never' } },
      { within: ['strace', '-D', '-f', '-qq', '--seccomp-bpf', ...breaking, '-o', trace] },
    )
    onTestFinished(() => mirror.kill())
    const ask = async (way: string, body?: object) => {
      const options = body && {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }
      return await fetch(`${mirror.operatorUrl}${way}`, options)
    }
    const { id } = (await (await ask('/api/bundles/import', { path: medium })).json()) as { id: string }
    await (await ask(`/api/jobs/${id}/events`)).text()
    const job = (await (await ask(`/api/jobs/${id}`)).json()) as { state: string; result: ImportResult }
    expect(await fs.readFile(trace, 'utf8')).toContain('EIO')
    expect(job.state).toBe('done')
    expect(job.result.lacking.flatMap(({ images }) => images.map((image) => image.uuid))).toEqual(lacking)
    const [volume] = job.result.volumes
    expect(volume!.outcome).toBe(lacking.length > 0 ? 'damaged' : 'taken')
    if (lacking.length === 0) expect(volume!.healedBlocks).toBeGreaterThan(10)
    const listed = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string }[]
    expect(listed.map((image) => image.uuid).sort()).toEqual(
      [uuid(1), uuid(20), uuid(21)].filter((each) => !(lacking as readonly string[]).includes(each)),
    )
  })
})

describe('a closed side with too little room for a bundle', () => {
  const [pinned, idle] = [imageOf(30, 2 * MIB), imageOf(31, 2 * MIB)]
  const failedOf = ({ items }: EndedJob) => items.filter(({ name, state }) => state === 'failed' && !name.includes(' '))
  const uuidsOf = (images: readonly MadeImage[]) => images.map(({ image }) => image.manifest.uuid as string).sort()

  it('within its quota takes what fits, says of each image that does not, and lets go of nothing that has to stay', async () => {
    const site = await siteWith([pinned, idle], { quota: '15MiB' })
    expect((await site.api('PUT', `/api/images/${uuid(30)}/pin`, { reason: 'the site boots from it' })).status).toBe(
      200,
    )
    const medium = await temporaryDirectory()
    await writeMadeUpBundle(medium, [...many, small])
    for (const _time of ['at first', 'again, as nothing has changed']) {
      const failed = await site.import(medium)
      expect(failed).toMatchObject({ state: 'failed', error: { code: 'STORE_FULL' } })
      expect(failed.error!.message).toMatch(
        /^there is no room here for image-\d \S+ \([0-9a-f-]{36}\), .* and 1 more; all else that fits has come\. Make room, /,
      )
      expect(
        failedOf(failed)
          .map(({ name }) => name)
          .sort(),
      ).toEqual(uuidsOf(many.slice(4)))
      for (const { note } of failedOf(failed)) expect(note).toMatch(/: no room for a file of \d+ bytes/)
      expect(await site.listed()).toEqual(uuidsOf([...many.slice(0, 4), small, pinned]))
      await expectServed(site, [...many.slice(0, 4), small, pinned])
    }
    await site.restart({ quota: '200MiB' })
    expect((await site.import(medium)).result).toMatchObject({ imagesHeld: 4, lacking: [] })
    await expectServed(site, [...many, small, pinned])
  })

  it.skipIf(!canMount)(
    'because somebody else fills its disk meanwhile, keeps what it has, and goes on when there is room',
    async () => {
      const disk = await mountSmallDisk(80)
      const site = await siteWith([small], { data: join(disk, 'data') })
      const medium = await temporaryDirectory()
      await writeMadeUpBundle(medium, many)
      const id = await site.begin('import', { path: medium })
      await site.hasDone(id, 4 * MIB)
      const ballast = await fillUp(disk)
      const failed = await site.ended(id)
      expect(failed).toMatchObject({ state: 'failed', error: { code: 'STORE_FULL' } })
      // Whatever is written at that moment hears of it: most often a file, sometimes what is noted of one.
      expect(failed.error!.message).toMatch(
        /no room here for image-\d .* and give the same command again: their files have \d+ bytes|no room left|disk is full/,
      )
      await expectServed(site, [small])

      await fs.rm(ballast)
      const { result } = await site.import(medium)
      expect(result).toMatchObject({ lacking: [] })
      expect(result.takenBytes).toBeLessThan(many.reduce((sum, { bytes }) => sum + bytes.length, 0))
      await expectServed(site, [small, ...many])
    },
  )
})
