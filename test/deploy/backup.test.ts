import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { openData } from '../../src/assemble/open-data.js'
import { openLedger } from '../../src/assemble/open-ledger.js'
import { runCommand } from '../cli/run-command.js'
import { download } from '../support/download.js'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { whyNoPrograms } from '../support/programs.js'
import { PUBLISHING, tell } from '../support/publishing-mirror.js'
import { startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'

const run = promisify(execFile)
const shipped = join(import.meta.dirname, '..', '..', 'deploy', 'backup', 'backup.sh')

/** Publishes an image of our own. Answers its uuid. */
async function publish(url: string, bytes: Buffer): Promise<string> {
  const { name, version, type, os, owner } = makeImage().manifest
  const { body } = await tell(url, 'POST', '/images', { v: 2, name, version, type, os, owner, public: true })
  const uuid = String(body.uuid)
  expect((await tell(url, 'PUT', `/images/${uuid}/file?compression=none`, bytes)).status).toBe(200)
  expect((await tell(url, 'POST', `/images/${uuid}?action=activate`)).status).toBe(200)
  return uuid
}

const reason = whyNoPrograms('rsync')

describe.skipIf(reason !== undefined)(`a backup of a mirror at work${reason ? ` (${reason})` : ''}`, () => {
  it.each([
    {
      how: 'by the script that is shipped',
      isInOrder: true,
      copy: (data: string, to: string) => run(shipped, [data, to]),
    },
    // Not what we tell people to do, but what they do: what comes meanwhile may be named in it and not be there.
    {
      how: 'by cp, in any order',
      isInOrder: false,
      copy: (data: string, to: string) => run('cp', ['-a', `${data}/.`, to]),
    },
  ])('$how has all that was there, starts, and serves it without a network', async ({ copy, isInOrder }) => {
    const images = Array.from({ length: 40 }, () => makeImage({}, randomBytes(60_000)))
    const upstream = await startUpstream({ images })
    const mirror = await startMirror({ upstreams: [{ name: 'central', url: upstream.url }], ...PUBLISHING })
    await mirror.settled()
    const bytesOf = new Map(images.map((image) => [uuidOf(image), image.files[0]!]))
    const fetchOne = async (uuid: string) => expect((await download(mirror.url, uuid)).kind).toBe('complete')
    const before = images.slice(0, 10).map(uuidOf)
    await Promise.all(before.map(fetchOne))
    const own = randomBytes(50_000)
    before.push(await publish(mirror.url, own))
    bytesOf.set(before.at(-1)!, own)
    await until(async () => (await mirror.status()).imagesHeld === before.length)

    // Pulls, and writes of our own, from before the first byte is copied until after the last.
    let isCopying = true
    let worked = 0
    const work = async () => {
      for (const image of images.slice(10)) {
        if (!isCopying) break
        await fetchOne(uuidOf(image))
        const bytes = randomBytes(20_000)
        bytesOf.set(await publish(mirror.url, bytes), bytes)
        worked++
      }
    }
    const working = work()
    await until(() => worked > 1)
    const backup = await temporaryDirectory()
    await copy(mirror.dataDirectory, backup)
    const workedMeanwhile = worked
    isCopying = false
    await working
    await mirror.close()
    expect(workedMeanwhile).toBeGreaterThan(1)

    const looked = await runCommand(['verify', '--data', backup], { openData })
    if (isInOrder) expect(looked, looked.out + looked.err).toMatchObject({ code: 0 })
    const restored = await temporaryDirectory()
    await cp(backup, restored, { recursive: true, preserveTimestamps: true })
    const again = await startMirror({ data: restored, offline: true, ...PUBLISHING })
    const listed = (await (await fetch(`${again.url}/images`)).json()) as { uuid: string }[]
    expect(listed.map(({ uuid }) => uuid)).toEqual(expect.arrayContaining(before))
    for (const { uuid } of listed) {
      const { bytes, kind } = await download(again.url, uuid)
      expect(kind).toBe('complete')
      expect(bytes.equals(bytesOf.get(uuid)!), uuid).toBe(true)
    }
    await again.close()
    const audited = await runCommand(['audit', 'verify', '--data', restored], { openLedger })
    if (isInOrder) expect(audited, audited.out + audited.err).toMatchObject({ code: 0 })
  })

  it('is made again by copying only what is new, and forgets what has left', async () => {
    const image = makeImage()
    const upstream = await startUpstream({ images: [image] })
    const mirror = await startMirror({ upstreams: [{ name: 'central', url: upstream.url }] })
    await mirror.settled()
    const backup = await temporaryDirectory()
    await run(shipped, [mirror.dataDirectory, backup])
    expect((await download(mirror.url, uuidOf(image))).kind).toBe('complete')
    await until(async () => (await mirror.status()).imagesHeld === 1)
    await run(shipped, [mirror.dataDirectory, backup])
    const list = (data: string) => runCommand(['list', '-H', '-o', 'uuid', '--data', data], { openData })
    expect((await list(backup)).out).toContain(uuidOf(image))
    const left = await fetch(`${mirror.operatorUrl}/api/images/${uuidOf(image)}`, { method: 'DELETE' })
    expect(left.status).toBe(200)
    await run(shipped, [mirror.dataDirectory, backup])
    expect((await list(backup)).out).not.toContain(uuidOf(image))
  })

  it('refuses to copy what is no data directory', async () => {
    const other = await temporaryDirectory()
    await writeFile(join(other, 'precious'), 'mine')
    const target = await temporaryDirectory()
    await writeFile(join(target, 'precious'), 'mine')
    await expect(run(shipped, [other, target])).rejects.toMatchObject({ code: 2 })
    expect(await readFile(join(target, 'precious'), 'utf8')).toBe('mine')
  })
})
