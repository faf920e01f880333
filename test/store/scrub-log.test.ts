import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { ScrubLog } from '../../src/store/scrub-log.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'

const progress = {
  checkedMs: new Map([['aa', 1000]]),
  current: { sha256: 'bb', nextChunk: 7 },
  endedMs: 2000,
  auditedMs: undefined,
}
const beginning = { checkedMs: new Map(), current: undefined, endedMs: undefined, auditedMs: undefined }

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await fs.mkdir(partial)
  const log = new RecordingLog()
  const fileSystem = new FaultyFileSystem()
  return { log, fileSystem, path: join(root, 'scrub.json'), scrub: new ScrubLog({ root, partial, fileSystem, log }) }
}

it('remembers how far the scrub has come', async () => {
  const { scrub } = await makeRig()
  expect(await scrub.load()).toEqual(beginning)
  await scrub.save(progress)
  expect(await scrub.load()).toEqual(progress)
})

it('begins anew when what was written is damaged, and says so', async () => {
  const { log, path, scrub } = await makeRig()
  await scrub.save(progress)
  const text = await fs.readFile(path, 'utf8')
  await fs.writeFile(path, text.replace('1000', '1001'))
  expect(await scrub.load()).toEqual(beginning)
  expect(log.lines).toMatchObject([{ level: 'warn' }])
})

it('says that the disk is full', async () => {
  const { fileSystem, scrub } = await makeRig()
  fileSystem.before = (step) => {
    if (step === 'file.write') throw systemError('ENOSPC')
  }
  await expect(scrub.save(progress)).rejects.toMatchObject({ code: 'STORE_FULL' })
})
