import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { makeSigner } from '../bundle/signers.js'
import { uuid } from '../images/manifests.js'
import { makeBundle } from '../support/made-up-bundle.js'
import { startNginx, whyNoNginx } from '../support/nginx.js'
import { startMirror } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { started } from '../upstream/upstream-under-test.js'

const signer = makeSigner()

describe.each([
  ['behind nginx', async (directory: string) => (await started(startNginx(await temporaryDirectory(), directory))).url],
  ['in a directory', async (directory: string) => pathToFileURL(directory).href],
])('a mirror of a bundle %s', (place, serve) => {
  it.skipIf(place === 'behind nginx' && whyNoNginx() !== undefined)(
    'lists, serves and keeps its images, also when the medium is gone again',
    async () => {
      const directory = await temporaryDirectory()
      const media = join(directory, 'media')
      await mkdir(media)
      const bundle = await makeBundle(media, signer)
      const key = join(directory, 'site-a.pub')
      await writeFile(key, signer.publicKey)
      const url = `${await serve(media)}${bundle.volumes[0]!.slice(media.length)}/`
      const mirror = await startMirror({
        upstreams: [{ name: 'stick', type: 'bundle', url }],
        bundles: { trustedKeys: [key] },
      })
      await mirror.settled()

      const list = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string }[]
      expect(list.map((image) => image.uuid).sort()).toEqual([uuid(1), uuid(2)])
      for (const number of [1, 2]) {
        const answer = await fetch(`${mirror.url}/images/${uuid(number)}/file`)
        expect(Buffer.from(await answer.arrayBuffer()).equals(bundle.contents.get(number)!)).toBe(true)
      }
      const icon = await fetch(`${mirror.url}/images/${uuid(1)}/icon`)
      expect(icon.headers.get('content-type')).toBe('image/png')

      await rm(media, { recursive: true })
      const again = await fetch(`${mirror.url}/images/${uuid(2)}/file`)
      expect(Buffer.from(await again.arrayBuffer()).equals(bundle.contents.get(2)!)).toBe(true)
    },
  )
})

it('does not look at a bundle in a directory either while it is offline', async () => {
  const bundle = await makeBundle(await temporaryDirectory(), signer)
  const url = pathToFileURL(bundle.volumes[0]!).href
  const mirror = await startMirror({
    offline: true,
    upstreams: [{ name: 'stick', type: 'bundle', url, allowUntrusted: true }],
  })
  expect(await (await fetch(`${mirror.url}/images`)).json()).toEqual([])
})
