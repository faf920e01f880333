import { createPrivateKey } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { openData } from '../../src/assemble/open-data.js'
import { parseUuid } from '../../src/images/uuid.js'
import { ClosedSite } from '../bundle/closed-site.js'
import { MIB, madeUpImage, writeMadeUpBundle } from '../bundle/made-up-bundle.js'
import { makeSigner } from '../bundle/signers.js'
import { madeUpBytes } from '../support/made-up-bytes.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { runCommand } from './run-command.js'
import { normalise, screenOf } from './screens.js'

const BASE = parseUuid('11111111-1111-4111-8111-111111111111')!
const APP = parseUuid('22222222-2222-4222-8222-222222222222')!
const OTHER = parseUuid('33333333-3333-4333-8333-333333333333')!

const base = madeUpImage(BASE, madeUpBytes(3 * MIB + 17, 1), { name: 'base-64' })
const app = madeUpImage(APP, madeUpBytes(2 * MIB, 2), {
  name: 'a-name-as-long-as-people-make-them',
  origin: BASE,
})
const other = madeUpImage(OTHER, madeUpBytes(5000, 3), { name: 'other' })

/** Always the same, so that volumes come in the same order. */
const stranger = makeSigner(
  createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 9)]),
    format: 'der',
    type: 'pkcs8',
  }),
)

/** What is another one on every mirror: its key, its salt, when it was asked. */
function withoutWhatDiffers(text: string): string {
  return normalise(text)
    .replace(/^( +\d+ (?:at|key|salt|image|file|part|site|sign)) .*$/gm, '$1 ...')
    .replace(/\b[0-9A-F]{16}\b/g, 'KEY')
}

/** What has ended between two looks is told in any order. */
function endedInOrder(screen: string): string {
  const lines = screen.split('\n')
  const isEnded = (line: string) => /^(?:done|skipped|failed) {2,}/.test(line)
  const ended = lines.filter(isEnded).toSorted()
  return lines.map((line) => (isEnded(line) ? ended.shift() : line)).join('\n')
}

/** Writes down what an operator sees who types this, at each width; a number is a terminal's. */
async function transcriptOf(
  site: ClosedSite,
  lines: readonly (readonly [line: string, columns?: number])[],
  medium: string,
): Promise<string> {
  let transcript = ''
  for (const [line, columns] of lines) {
    const args = line.replace('/media/usb', medium).split(' ')
    const { code, err, out } = await runCommand([...args, '--url', site.mirror.operatorUrl], {
      ...(columns !== undefined && { terminal: { columns: () => columns } }),
    })
    const where = columns === undefined ? '' : `   # ${columns} columns`
    const said = (endedInOrder(screenOf(out)) + err).replaceAll(medium, '/media/usb')
    transcript += `$ imgapi-mirror ${line}${where}\n${withoutWhatDiffers(said)}=> ${code}\n\n`
  }
  return transcript
}

const atEveryWidth = (line: string) => [[line, 80], [line, 200], [line]] as const

async function expectGolden(name: string, transcript: string): Promise<void> {
  await expect(transcript).toMatchFileSnapshot(fileURLToPath(new URL(`golden/${name}.txt`, import.meta.url)))
}

it('shows what comes by bundles, what is lacking of them, and where an image came from', async () => {
  const all = await temporaryDirectory()
  // As long everywhere: lines are broken by what they have.
  const medium = await mkdtemp('/tmp/usb-')
  onTestFinished(() => rm(medium, { recursive: true }))
  const { volumes } = await writeMadeUpBundle(join(all, 'bundle'), [base, app, other], { volumes: 2 })
  const bring = async (...directories: string[]) => {
    for (const name of await readdir(medium)) await rm(join(medium, name), { recursive: true })
    for (const directory of directories)
      await cp(directory, join(medium, directory.split('/').at(-1)!), { recursive: true })
  }
  const strangers = await writeMadeUpBundle(join(all, 'stranger'), [other], { by: stranger })
  const site = await ClosedSite.start({ bundles: { site: 'vault' } })
  await bring(volumes[0]!)
  const first = await transcriptOf(site, atEveryWidth('import-bundle /media/usb'), medium)
  const awaited = await transcriptOf(
    site,
    [...atEveryWidth('bundles'), ...atEveryWidth('bundles --gaps'), ['bundles --forget nothing']],
    medium,
  )
  const lacking = await transcriptOf(site, [...atEveryWidth(`explain ${APP}`)], medium)
  await bring(volumes[1]!, strangers.volumes[0]!)
  const second = await transcriptOf(
    site,
    [['import-bundle /media/usb', 80], ['import-bundle /media/usb'], ['import-bundle /nowhere']],
    medium,
  )
  await expectGolden('import-bundle', first + second)
  await expectGolden('bundles', awaited + (await transcriptOf(site, [['bundles'], ['bundles --gaps']], medium)))
  await expectGolden('inventory', await transcriptOf(site, [...atEveryWidth('inventory --latest 2')], medium))
  // Entries are written about a second after what they tell of.
  const explained = async () => (await runCommand(['explain', APP, '--url', site.mirror.operatorUrl])).out
  await until(async () => (await explained()).includes('It came by bundle'))
  await expectGolden(
    'explain-bundle',
    lacking + (await transcriptOf(site, [...atEveryWidth(`explain ${APP}`), [`show ${APP}`]], medium)),
  )
})

it('says that no way leads back where a request is asked for behind a diode, and how to say what is lacking', async () => {
  const medium = await temporaryDirectory()
  await writeMadeUpBundle(medium, [other])
  const site = await ClosedSite.start({ bundles: { diode: true } })
  const request = join(medium, 'request.inv')
  const args = ['import-bundle', medium, '--request', request, '--url', site.mirror.operatorUrl]
  const { code, err } = await runCommand(args)
  expect([code, err]).toEqual([2, expect.stringContaining('no way leads back from this mirror (bundles.diode)')])
  expect(err).toContain('imgapi-mirror bundles --gaps')
  await expect(readFile(request)).rejects.toThrow('ENOENT')
  expect(await site.listed()).toEqual([])
})

it('writes the request also when there was too little room: what came is in it, and what did not', async () => {
  const medium = await temporaryDirectory()
  await writeMadeUpBundle(medium, [base, other])
  const site = await ClosedSite.start({ quota: '1MiB' })
  const request = join(await temporaryDirectory(), 'request.inv')
  const args = ['import-bundle', medium, '--request', request, '--url', site.mirror.operatorUrl]
  const { code, err } = await runCommand(args, { writeFile: (path, text) => writeFile(path, text) })
  expect(code).toBe(1)
  expect(await site.listed()).toEqual([OTHER])
  const [needed, quota] = [3 * MIB + 17, MIB]
  expect(err).toMatch(
    new RegExp(
      `files have ${needed} bytes, \\d+ are free on the disk .* and ${quota - 5000} of the quota of ${quota} are left`,
    ),
  )
  const text = await readFile(request, 'utf8')
  expect(text).toContain('image')
  expect(err).toContain(`the request is in ${request}`)
})

it('tells by which bundle an image came of a directory without a mirror, too', async () => {
  const medium = await temporaryDirectory()
  const { id } = await writeMadeUpBundle(medium, [other])
  const site = await ClosedSite.start()
  expect(await site.import(medium)).toMatchObject({ state: 'done' })
  const shown = async () => (await runCommand(['show', OTHER, '-j', '--data', site.data], { openData })).out
  // Entries are written about a second after what they tell of.
  await until(async () => JSON.parse(await shown()).cameBy !== null)
  expect(JSON.parse(await shown()).cameBy).toMatchObject({ bundle: id })
})
