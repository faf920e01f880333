import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFailed } from 'vitest'
import { prepare } from '../../scripts/ready.mjs'
import { makeImage } from '../support/made-up-images.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { TestServer } from '../support/upstreams/serve.js'
import { blocksOf } from './page-blocks.js'
import { PAGES, root } from './pages.js'
import { Reader } from './reader.js'

/** Images that pages call by their uuids. */
const BASE = 'fd2cc906-8938-11e3-beab-4359c665ac99'
const IMAGES = [
  makeImage({ uuid: BASE, name: 'base-64-lts', version: '24.4.0' }),
  makeImage({ uuid: '04179d8e-188f-11e7-af8a-93349dd33f20', name: 'web-shop', version: '1.3.0', origin: BASE }),
  makeImage({
    uuid: '01b2c898-945f-11e1-a523-af1afbe22822',
    name: 'smartos',
    version: '1.6.3',
    urn: 'sdc:sdc:smartos:1.6.3',
  }),
  makeImage({
    ...{ name: 'docker-layer', type: 'docker', os: 'linux' },
    tags: { 'docker:id': `sha256:${'ab'.repeat(32)}`, 'docker:repo': 'busybox', 'docker:tag:latest': true },
  }),
]

/** What pages take for granted, beyond a directory with nothing in it but config.yaml. */
const FILES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'docs/publishing.md': {
    'secrets/builder': 'secret',
    'app.imgmanifest': JSON.stringify({
      ...{ v: 2, uuid: '6fd32a0c-1f3b-4d6a-9c2b-0d9f0c1c7a10', name: 'app', version: '1.0.0' },
      ...{ os: 'smartos', type: 'zone-dataset' },
    }),
    'app.zfs.gz': 'no file system at all',
  },
}

/** How many blocks of a page a test cannot run, so that each is marked on purpose. */
const ELSEWHERE: Readonly<Record<string, number>> = {
  'README.md': 4,
  'docs/audit.md': 1,
  'docs/backup.md': 3,
  'docs/bundle-format.md': 1,
  'docs/deploying.md': 2,
  'docs/docker.md': 1,
}

/** How long a busy machine may build, when what was built is older than the source. */
const BUILD_LIMIT_MS = 300_000
/** A page is some dozens of processes, one after the other. */
const PAGE_LIMIT_MS = 180_000

beforeAll(() => expect(prepare()).toBe(true), BUILD_LIMIT_MS)

describe.each(PAGES)('%s', (page) => {
  const blocks = blocksOf(readFileSync(join(root, page), 'utf8'))
  const count = (kind: string) => blocks.filter((block) => block.kind === kind).length
  let upstream: TestServer
  beforeAll(async () => {
    upstream = await startSdcImgapi({ images: IMAGES })
  })
  afterAll(() => upstream.close())

  it.runIf(count('run') > 0)(
    'has commands that work, one after the other',
    async () => {
      const reader = await Reader.open(await temporaryDirectory(), upstream, BASE, FILES[page])
      onTestFailed(() => console.error(reader.log.join('\n')))
      try {
        for (const { kind, line, site, text } of blocks) {
          const block = `${page}, line ${line}`
          if (kind === 'config') await reader.configure(text, site).catch((cause) => failAt(block, cause))
          if (kind === 'run') await reader.type(text, site).catch((cause) => failAt(block, cause))
        }
      } finally {
        await reader.close()
      }
    },
    PAGE_LIMIT_MS,
  )

  it('marks no other commands as not to be tried than it had', () => {
    expect(count('elsewhere')).toBe(ELSEWHERE[page] ?? 0)
  })
})

function failAt(block: string, cause: unknown): never {
  throw new Error(`${block}: ${(cause as Error).message}`, { cause })
}
