import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import type { ExportResult } from '../../src/bundle/bundles.js'
import { makeImage } from '../support/made-up-images.js'
import { startNginx, whyNoNginx } from '../support/nginx.js'
import { startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { ClosedSite } from './closed-site.js'

const BASE = '11111111-1111-4111-8111-111111111111'
const LEAF = '22222222-2222-4222-8222-222222222222'
const IMAGES = [
  makeImage({ uuid: BASE, name: 'base-64' }, Buffer.alloc(3_000_000, 'the base; ')),
  makeImage({ uuid: LEAF, name: 'leaf', origin: BASE }, Buffer.alloc(700_001, 'the leaf; ')),
]

it.skipIf(whyNoNginx() !== undefined)(
  'is, as it was exported, an upstream behind nginx and in a directory, and brings along what was claimed of its images',
  async () => {
    const central = await startSdcImgapi({ images: IMAGES })
    onTestFinished(() => central.close())
    const open = await startMirror({
      upstreams: [{ name: 'central', url: central.url }],
      bundles: { site: 'open side' },
      scrub: { every: 'never' },
    })
    await open.settled()
    const out = await temporaryDirectory()
    const response = await fetch(`${open.operatorUrl}/api/bundles/export`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ select: ['name=leaf'], out, volumeBytes: 2_500_000 }),
    })
    const { id } = (await response.json()) as { id: string }
    let job = { state: 'running', result: undefined as unknown as ExportResult }
    await until(async () => {
      job = (await (await fetch(`${open.operatorUrl}/api/jobs/${id}`)).json()) as typeof job
      return job.state !== 'running'
    })
    expect(job.state).toBe('done')
    expect(job.result.volumes.length).toBeGreaterThan(1)
    const { directory } = job.result.volumes[0]!
    const key = join(open.dataDirectory, 'keys', 'mirror.pub')

    const nginx = await startNginx(await temporaryDirectory(), out)
    onTestFinished(() => nginx.close())
    for (const root of [`${nginx.url}/`, `${pathToFileURL(out).href}/`]) {
      const mirror = await startMirror({
        upstreams: [{ name: 'stick', type: 'bundle', url: `${root}${directory}/` }],
        bundles: { trustedKeys: [key] },
      })
      await mirror.settled()
      for (const { files, manifest } of IMAGES) {
        const file = await fetch(`${mirror.url}/images/${manifest.uuid as string}/file`)
        expect(Buffer.from(await file.arrayBuffer()).equals(files[0]!)).toBe(true)
      }
    }

    // The same on a closed site, whose ledger repeats what the open side had heard.
    const site = await ClosedSite.start({ bundles: { trustedKeys: [key] } })
    expect((await site.import(out)).result).toMatchObject({ imagesHeld: 2, lacking: [] })
    let facts: object | undefined
    // Entries are written about a second after what they tell of.
    await until(async () => {
      const { ledger } = (await site.api('GET', `/api/explain/${LEAF}`)).body.image
      facts = ledger.find(({ kind }: { kind: string }) => kind === 'imported')?.facts
      return facts !== undefined
    })
    expect(facts).toMatchObject({ claims: [{ upstream: 'central', firstSeenMs: expect.any(Number) }] })
  },
)
