import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { contractImages, imgapiEndpointContract } from '../contracts/imgapi-endpoint.contract.js'
import { openMirror } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'

const closers: (() => Promise<void>)[] = []
afterAll(async () => {
  for (let close = closers.pop(); close; close = closers.pop()) await close()
})

async function open(name: string, url: string) {
  const data = await mkdtemp(join(tmpdir(), 'imgapi-mirror-data-'))
  closers.push(() => rm(data, { recursive: true, force: true }))
  const mirror = await openMirror({ data, upstreams: [{ name, url }] })
  closers.push(() => mirror.close())
  await mirror.settled()
  return mirror
}

async function mirrorOfServer() {
  const server = await startSdcImgapi({ images: contractImages })
  closers.push(() => server.close())
  return await open('server', server.url)
}

imgapiEndpointContract('a mirror of an sdc-imgapi server', mirrorOfServer)
imgapiEndpointContract('a mirror of a mirror', async () => await open('mirror', (await mirrorOfServer()).url))
