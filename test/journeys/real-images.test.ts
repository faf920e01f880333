import { createHash } from 'node:crypto'
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeDataset, makeImage, sha1, uuidOf } from '../support/made-up-images.js'
import { startNginx, whyNoNginx } from '../support/nginx.js'
import { startMirror } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { whyNoZfs, ZfsPool } from '../support/zfs.js'

const whyNot = whyNoZfs() ?? whyNoNginx()
if (whyNot) console.warn(`\n*** REAL IMAGES ARE NOT TESTED HERE: ${whyNot} ***\n`)

describe.skipIf(whyNot)('real zfs send streams through the mirror', () => {
  it('arrive so that zfs receive makes equal filesystems: full by gzip, incremental by xz and plain', async () => {
    const workspace = await temporaryDirectory()
    const pool = await ZfsPool.create(workspace)
    onTestFinished(() => pool.destroy())
    await makeFilesystems(pool)
    const base = makeImage({ name: 'base', files: [] }, await pool.send('base@final', { compress: 'gzip' }))
    declare(base, 'gzip')
    const middleBytes = await pool.send('middle@final', { from: 'base@final', compress: 'xz' })
    const middle = makeDataset({ name: 'middle', origin: uuidOf(base), files: [] }, middleBytes)
    middle.manifest.files = [{ path: 'middle.zfs.xz', sha1: sha1(middleBytes), size: middleBytes.length }]
    const leaf = makeImage(
      { name: 'leaf', origin: uuidOf(middle) },
      await pool.send('leaf@final', { from: 'middle@final' }),
    )

    // The base is on an IMGAPI server, the middle on a static web server, the leaf on another IMGAPI server.
    const site = join(workspace, 'site', 'images')
    await mkdir(join(site, uuidOf(middle)), { recursive: true })
    await writeFile(join(site, 'index.html'), JSON.stringify([middle.manifest]))
    await writeFile(join(site, uuidOf(middle), 'middle.zfs.xz'), middleBytes)
    const nginx = await startNginx(join(workspace, 'nginx'), join(workspace, 'site'))
    const one = await startSdcImgapi({ images: [base] })
    const two = await startSdcImgapi({ images: [leaf] })
    onTestFinished(async () => void (await Promise.all([nginx.close(), one.close(), two.close()])))
    const mirror = await startMirror({
      upstreams: [
        { name: 'one', url: one.url },
        { name: 'static', type: 'dsapi', url: `${nginx.url}/images` },
        { name: 'two', url: two.url },
      ],
    })
    await mirror.settled()

    for (const image of [base, middle, leaf]) {
      const uuid = uuidOf(image)
      const manifest = (await (await fetch(`${mirror.url}/images/${uuid}`)).json()) as {
        files: [{ compression: 'gzip' | 'xz' | 'none'; sha1: string }]
      }
      const bytes = Buffer.from(await (await fetch(`${mirror.url}/images/${uuid}/file`)).arrayBuffer())
      expect(sha1(bytes)).toBe(manifest.files[0].sha1)
      const file = join(workspace, uuid)
      await writeFile(file, bytes)
      await pool.receive(file, `got-${uuid}`, manifest.files[0].compression)
    }

    for (const [name, image] of Object.entries({ base, middle, leaf })) {
      const got = await contentOf(pool.directoryOf(`got-${uuidOf(image)}`))
      expect(got).toEqual(await contentOf(pool.directoryOf(name)))
      expect(Object.keys(got).length).toBeGreaterThan(0)
    }
  })
})

async function makeFilesystems(pool: ZfsPool): Promise<void> {
  await pool.zfs('create', `${pool.name}/base`)
  await cp(join(import.meta.dirname, '..', 'support'), join(pool.directoryOf('base'), 'tree'), { recursive: true })
  await writeFile(join(pool.directoryOf('base'), 'motd'), 'hello from the base\n')
  await pool.zfs('snapshot', `${pool.name}/base@final`)
  await pool.zfs('clone', `${pool.name}/base@final`, `${pool.name}/middle`)
  await writeFile(join(pool.directoryOf('middle'), 'random'), createHash('sha512').update('middle').digest())
  await pool.zfs('snapshot', `${pool.name}/middle@final`)
  await pool.zfs('clone', `${pool.name}/middle@final`, `${pool.name}/leaf`)
  await writeFile(join(pool.directoryOf('leaf'), 'motd'), 'hello from the leaf\n')
  await pool.zfs('snapshot', `${pool.name}/leaf@final`)
}

/** Every file below a directory, by path, with a digest of its bytes. */
async function contentOf(directory: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {}
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    content[path.slice(directory.length)] = sha1(await readFile(path))
  }
  return content
}

function declare(image: ReturnType<typeof makeImage>, compression: string): void {
  const [bytes] = image.files
  image.manifest.files = [{ sha1: sha1(bytes!), size: bytes!.length, compression }]
}
