import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { JobSummary } from '../../../../src/mirror/jobs.js'
import type { ImageDetails, ImageRow, Page } from '../../../../src/mirror/operations/image-answers.js'
import { makeDataset, makeImage, uuidOf } from '../../../support/made-up-images.js'
import { startMirror } from '../../../support/running-mirror.js'
import { temporaryDirectory } from '../../../support/temporary.js'
import { startSdcImgapi } from '../../../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../../../support/upstreams/serve.js'
import { ask, follow } from './api-client.js'

async function makeRig(settings: Record<string, unknown> = { offline: true }) {
  const mirror = await startMirror({ scrub: { every: 'never' }, ...settings })
  const { operatorUrl: url } = mirror
  const adopt = async (path: string) => {
    const { body } = await ask<JobSummary>(url, 'POST', '/api/adopt', { path })
    return (await follow(url, body)).at(-1)!
  }
  const lastItems = async (base: string, id: string) =>
    ((await (await fetch(`${base}/api/jobs/${id}`)).json()) as { items: { name: string; note: string }[] }).items
  const heldNames = async () =>
    (await ask<Page<ImageRow>>(url, 'GET', '/api/images?held=true')).body.items.map(({ name }) => name)
  const read = async (image: ServedImage) => {
    const response = await fetch(`${mirror.url}/images/${uuidOf(image)}/file`)
    return Buffer.from(await response.arrayBuffer()).equals(image.files[0]!)
  }
  return { mirror, url, adopt, lastItems, heldNames, read }
}

const json = (image: ServedImage) => JSON.stringify(image.manifest)

it('takes in pairs of manifest and file, and a directory of datasets with its list, whatever they are called', async () => {
  const [pair, dataset] = [makeImage({ name: 'pair' }), makeDataset({ name: 'dataset' })]
  const directory = await temporaryDirectory()
  await writeFile(join(directory, 'a.imgmanifest'), json(pair))
  await writeFile(join(directory, 'a.zfs.gz'), pair.files[0]!)
  await mkdir(join(directory, uuidOf(dataset)))
  await writeFile(join(directory, 'index.html'), JSON.stringify([dataset.manifest]))
  await writeFile(join(directory, uuidOf(dataset), 'made-up-1.0.0.zfs.gz'), dataset.files[0]!)
  const { url, adopt, heldNames, read } = await makeRig()
  expect(await adopt(directory)).toMatchObject({
    kind: 'adopt',
    state: 'done',
    result: { found: 2, adopted: 2, alreadyHeld: 0, refused: 0, adoptedBytes: 200_000 },
  })
  expect(await heldNames()).toEqual(['dataset', 'pair'])
  expect([await read(pair), await read(dataset)]).toEqual([true, true])
  const { body } = await ask<ImageDetails>(url, 'GET', `/api/images/${uuidOf(pair)}`)
  expect(body.files).toMatchObject([{ extents: [{ upstream: 'adopted' }] }])
  expect((await adopt(directory)).result).toMatchObject({ adopted: 0, alreadyHeld: 2 })
})

it('takes in what another mirror holds', async () => {
  const image = makeImage({ name: 'held elsewhere' })
  const upstream = await startSdcImgapi({ images: [image] })
  onTestFinished(() => upstream.close())
  const other = await makeRig({ upstreams: [{ name: 'u', url: upstream.url }] })
  await other.mirror.settled()
  await follow(other.url, (await ask<JobSummary>(other.url, 'POST', '/api/import', { uuids: [uuidOf(image)] })).body)
  await other.mirror.close()
  const { adopt, read } = await makeRig()
  expect((await adopt(other.mirror.dataDirectory)).result).toMatchObject({ adopted: 1, refused: 0 })
  expect(await read(image)).toBe(true)
})

it('takes nothing that does not prove itself, and says of each why', async () => {
  const [wrong, absent, good] = [
    makeImage({ name: 'wrong' }),
    makeImage({ name: 'absent' }),
    makeImage({ name: 'good' }),
  ]
  const directory = await temporaryDirectory()
  const spoilt = Buffer.from(wrong.files[0]!)
  spoilt[5]! ^= 1
  const write = (name: string, content: string | Buffer) => writeFile(join(directory, name), content)
  await write('wrong.json', json(wrong))
  await write('wrong.zfs', spoilt)
  await write(
    'absent.json',
    json({ ...absent, manifest: { ...absent.manifest, files: [{ ...fileOf(absent), size: 7 }] } }),
  )
  await write('unusable.json', JSON.stringify({ uuid: 'nonsense', files: [] }))
  await write('broken.json', '{"uuid": ')
  await write('good.json', json(good))
  await write('good.zfs', good.files[0]!)
  // What a link leads to is not in the directory.
  await symlink('/', join(directory, 'root'))
  const { url, adopt, lastItems, heldNames } = await makeRig()
  const job = await adopt(directory)
  expect(job).toMatchObject({ state: 'done', result: { found: 3, adopted: 1, refused: 3 } })
  expect(await heldNames()).toEqual(['good'])
  const notes = (await lastItems(url, job.id)).map(({ note }) => note).join('\n')
  expect(notes).toMatch(/wrong 1\.0\.0: .*wrong\.zfs is not its file/)
  expect(notes).toMatch(/absent 1\.0\.0: there is no file of 7 bytes/)
  expect(notes).toMatch(/unusable\.json: /)
})

it('refuses an image that upstreams know with another file', async () => {
  const image = makeImage({ name: 'known' })
  const other = makeImage({ uuid: uuidOf(image), name: 'known' })
  const upstream = await startSdcImgapi({ images: [image] })
  onTestFinished(() => upstream.close())
  const directory = await temporaryDirectory()
  await writeFile(join(directory, 'x.json'), json(other))
  await writeFile(join(directory, 'x.zfs'), other.files[0]!)
  const { mirror, adopt } = await makeRig({ upstreams: [{ name: 'u', url: upstream.url }] })
  await mirror.settled()
  expect((await adopt(directory)).result).toMatchObject({ adopted: 0, refused: 1 })
})

it('fails for what is no directory', async () => {
  const { adopt } = await makeRig()
  expect(await adopt('/dev/null')).toMatchObject({ state: 'failed', error: { code: 'QUERY_INVALID' } })
  expect(await adopt('relative')).toMatchObject({ state: 'failed' })
})

function fileOf({ manifest }: ServedImage): Record<string, unknown> {
  return (manifest.files as Record<string, unknown>[])[0]!
}
