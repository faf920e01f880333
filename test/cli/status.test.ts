import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { openData } from '../../src/assemble/open-data.js'
import { blobPath, flipBit } from '../mirror/keeping/damage.js'
import { makeImage } from '../support/made-up-images.js'
import { openMirror, startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startRangeImgapi } from '../support/upstreams/range-imgapi.js'
import { runCommand } from './run-command.js'

it('names the record of an image that was damaged at start', async () => {
  const data = await temporaryDirectory()
  const first = await openMirror({ data, upstreams: [] })
  await first.close()
  const path = join(data, 'images', '11111111-1111-4111-8111-111111111111.json')
  await fs.writeFile(path, '{"manifest":')
  const mirror = await openMirror({ data, upstreams: [] })
  try {
    const { code, out } = await runCommand(['status', '--url', mirror.operatorUrl])
    expect(code).toBe(0)
    expect(out).toContain(`damaged    ${path}: damaged at start, so that the image counts as not held\n`)
    const { out: json } = await runCommand(['status', '-j', '--url', mirror.operatorUrl])
    expect(JSON.parse(json).keeping.damagedRecords).toEqual([{ uuid: '11111111-1111-4111-8111-111111111111', path }])
  } finally {
    await mirror.close()
  }
})

it('says at start that the ledger is damaged, in the log too', async () => {
  const data = await temporaryDirectory()
  await (await openMirror({ data, upstreams: [] })).close()
  await (await openMirror({ data, upstreams: [] })).close()
  await flipBit(join(data, 'ledger', '000001.jsonl'), 40)
  const mirror = await startMirror({ data, upstreams: [] })
  const { out } = await runCommand(['status', '--url', mirror.operatorUrl])
  expect(out).toContain('1 entry was damaged at start; imgapi-mirror audit verify names what is wrong\n')
  expect(mirror.log.lines.some(({ message }) => message.includes('ledger/000001.jsonl has damaged entries'))).toBe(true)
})

it('counts no image as held of which a file is lost, wherever it counts', async () => {
  const [base, leaf] = [Buffer.alloc(20_000, 'b'), Buffer.alloc(20_000, 'l')]
  const origin = 'aaaaaaaa-0000-4000-8000-000000000001'
  const upstream = await startRangeImgapi([
    makeImage({ uuid: origin, name: 'base' }, base),
    makeImage({ name: 'leaf', origin }, leaf),
  ])
  onTestFinished(() => upstream.close())
  const prewarm = [{ name: 'nightly', match: ['name=leaf'] }]
  const before = await startMirror({ upstreams: [{ name: 'one', url: upstream.url }], prewarm })
  await until(async () => (await before.status()).imagesHeld === 2)
  await before.close()
  const mirror = await startMirror({ upstreams: [], prewarm, data: before.dataDirectory })
  const ask = (...args: string[]) => runCommand([...args, '--url', mirror.operatorUrl])
  expect((await ask('status')).out).toContain('nightly: complete, 1 of 1 image held\n')
  await flipBit(blobPath(mirror.dataDirectory, base), 10_000)
  await ask('verify')
  await until(async () => (await ask('status')).out.includes('short'))
  const { out } = await ask('status')
  expect(out).toContain('1 held of 2 listed\n')
  expect(out).toContain('1 file of 1 image, not held any more, damaged and not to be had again so far\n')
  expect(out).toContain('nightly: short, 0 of 1 image held; 1 not to be had\n')
  expect((await ask('list', '-H')).out.split('\n')).toEqual([expect.stringContaining('leaf'), ''])
  await mirror.close()
  const resting = await runCommand(['status', '--data', mirror.dataDirectory], { openData })
  expect(resting.out).toContain('1 held of 2 known')
  expect(resting.out).toContain('1 file of 1 image, not held any more\n')
})

it('says why an upstream fails where a terminal is narrow, and leaves out its address instead', async () => {
  const upstreams = [{ name: 'gone', url: 'http://127.0.0.1:1' }]
  const mirror = await openMirror({ data: await temporaryDirectory(), upstreams })
  try {
    await mirror.settled()
    const args = ['upstreams', '--url', mirror.operatorUrl]
    const { out } = await runCommand(args, { terminal: { columns: () => 72 } })
    expect(out).toMatch(/^gone +failing .* connect ECONNREFUSED 127\.0\.0\.1:1$/m)
    expect(out).not.toContain('http://')
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(72)
    expect((await runCommand(args)).out).toContain('http://127.0.0.1:1 ')
  } finally {
    await mirror.close()
  }
})
