import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Uuid } from '../../src/images/uuid.js'
import { nodeFileSystem } from '../../src/store/file-system.js'
import { PinFile } from '../../src/store/pin-file.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'

const PIN = {
  uuid: '01b2c898-945f-11e1-a523-af1afbe22822' as Uuid,
  by: 'ada',
  reason: 'the auditors want it',
  sinceMs: 1_700_000_000_000,
}

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await mkdir(partial)
  const log = new RecordingLog()
  const open = () => new PinFile({ root, partial, fileSystem: nodeFileSystem, log })
  return { root, open, path: join(root, 'pins.json') }
}

it('gives back the pins that were saved last', async () => {
  const { open } = await makeRig()
  expect(await open().load()).toEqual([])
  const pins = open()
  await Promise.all([pins.save([]), pins.save([PIN])])
  expect(await open().load()).toEqual([PIN])
})

it('takes a damaged file for none, and keeps it for whoever wants to know', async () => {
  const { root, open, path } = await makeRig()
  await open().save([PIN])
  await writeFile(path, (await readFile(path, 'utf8')).replace('ada', 'eve'))
  expect(await open().load()).toEqual([])
  expect(await readdir(join(root, 'quarantine'))).toHaveLength(2)
  expect(await open().load()).toEqual([])
})
