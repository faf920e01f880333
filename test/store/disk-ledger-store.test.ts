import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { silentLog } from '../../src/parts/log.js'
import { DiskLedgerStore } from '../../src/store/disk-ledger-store.js'
import { type FileSystem, nodeFileSystem } from '../../src/store/file-system.js'
import { LedgerFiles } from '../../src/store/ledger-files.js'
import { hashOfLine } from '../../src/store/ledger-line.js'
import { sealJson } from '../../src/store/sealed-json.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem } from './faulty-file-system.js'

const UUID = '01b2c898-945f-11e1-a523-af1afbe22822'

async function makePlaces(fileSystem: FileSystem = nodeFileSystem) {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await mkdir(partial)
  return { root, partial, fileSystem, log: silentLog, now: () => Date.UTC(2026, 0, 2) }
}

type Places = Awaited<ReturnType<typeof makePlaces>>

async function openLedger(places: Places, options: object = {}) {
  const ledger = await DiskLedgerStore.open({ ...places, ...options })
  onTestFinished(() => ledger.close())
  return ledger
}

/** A ledger of so many entries and a head behind them, closed. */
async function writtenLedger(entries: number, options: object = {}) {
  const places = await makePlaces()
  const ledger = await DiskLedgerStore.open({ ...places, ...options })
  for (let number = 1; number <= entries; number++) {
    ledger.append('claimed', UUID, { upstream: 'one', number, text: 'ä"\n' })
    // One batch each, so that small segments are begun.
    if (options !== undefined && 'segmentBytes' in options) await ledger.flush()
  }
  const head = await ledger.sign()
  await ledger.close()
  return { places, head, path: join(places.root, 'ledger', '000001.jsonl') }
}

/** A line with other words and a checksum that fits them. */
function sealedAnew(line: string): string {
  return sealJson(line.replace(/,"crc32":"[0-9a-f]{8}"\}$/, '}'))
}

const check = (places: Places, hashesOf: number[] = []) => new LedgerFiles(places).check({ hashesOf })

describe('the ledger', () => {
  it('gives back what was appended, in order, over restarts', async () => {
    const places = await makePlaces()
    const first = await DiskLedgerStore.open(places)
    for (let number = 1; number <= 3; number++) first.append('claimed', UUID, { number })
    await first.close()
    const second = await openLedger(places)
    second.append('stopped', undefined, {})
    await second.flush()
    expect(await second.newest(undefined, 10)).toMatchObject([
      { seq: 1, kind: 'claimed', image: UUID, facts: { number: 1 } },
      { seq: 2, facts: { number: 2 } },
      { seq: 3, facts: { number: 3 } },
      { seq: 4, kind: 'stopped', image: undefined },
    ])
    expect(await check(places)).toMatchObject({ entries: 4, faults: [] })
  })

  it('can be checked by hand: each line has the sha256sum of the one before it', async () => {
    const { path } = await writtenLedger(3)
    const run = promisify(execFile)
    const { stdout } = await run('sh', ['-c', `sed -n 2p "$1" | sha256sum`, 'sh', path])
    const third = (await readFile(path, 'utf8')).split('\n')[2]!
    expect(JSON.parse(third).previous).toBe(stdout.slice(0, 64))
  })

  it('signs heads that the program minisign believes, and no longer when they are changed', async () => {
    const { places } = await writtenLedger(3)
    const file = (name: string) => join(places.root, name)
    const run = () => promisify(execFile)('minisign', ['-V', '-p', file('keys/mirror.pub'), '-m', file('ledger/head')])
    expect((await run()).stdout).toContain('Signature and comment signature verified')
    await writeFile(
      file('ledger/head'),
      (await readFile(file('ledger/head'), 'utf8')).replace('entries: 3', 'entries: 2'),
    )
    await expect(run()).rejects.toThrow('verification failed')
  })

  it('keeps its key to its owner', async () => {
    const { places } = await writtenLedger(1)
    expect((await stat(join(places.root, 'keys', 'mirror.key'))).mode & 0o777).toBe(0o600)
  })

  it('goes on in a new file when one is large enough, and is one chain all the same', async () => {
    const { places } = await writtenLedger(20, { segmentBytes: 1000 })
    expect((await readdir(join(places.root, 'ledger'))).length).toBeGreaterThan(5)
    expect(await check(places)).toMatchObject({ entries: 21, faults: [], goodHeads: 1 })
    expect(await new LedgerFiles(places).newest(UUID, 7)).toHaveLength(7)
  })

  it('finds the entries about an image, and no others', async () => {
    const places = await makePlaces()
    const ledger = await openLedger(places)
    const other = UUID.replace('0', '9')
    ledger.append('claimed', other, {})
    ledger.append('claimed', UUID, {})
    ledger.append('damaged', undefined, { images: [UUID] })
    await ledger.flush()
    expect((await ledger.newest(UUID, 10)).map(({ seq }) => seq)).toEqual([2, 3])
    expect((await ledger.newest(UUID, 1)).map(({ seq }) => seq)).toEqual([3])
  })

  it('cuts off what a crash has torn behind a full segment before it begins the next', async () => {
    const { places, path } = await writtenLedger(1, { segmentBytes: 1 })
    const whole = await readFile(join(places.root, 'ledger', '000002.jsonl'))
    await writeFile(join(places.root, 'ledger', '000002.jsonl'), Buffer.concat([whole, Buffer.from('{"torn')]))
    const ledger = await openLedger(places, { segmentBytes: 1 })
    ledger.append('claimed', UUID, { number: 2 })
    await ledger.flush()
    ledger.append('claimed', UUID, { number: 3 })
    await ledger.flush()
    expect(await readdir(join(path, '..'))).toContain('000003.jsonl')
    expect(await check(places)).toMatchObject({ faults: [], entries: 5, unfinishedBytes: 0 })
  })

  it('cuts off a line that a crash has torn, and tells of it', async () => {
    const { places, path } = await writtenLedger(3)
    await truncate(path, (await stat(path)).size - 10)
    expect(await check(places)).toMatchObject({ entries: 3, unfinishedBytes: expect.any(Number), faults: [] })
    const ledger = await openLedger(places)
    await ledger.sign()
    expect((await ledger.newest(undefined, 2))[0]).toMatchObject({ seq: 4, kind: 'ledger-cut' })
    expect(await ledger.check()).toMatchObject({ entries: 5, faults: [], unfinishedBytes: 0 })
  })

  it('tells at start when entries are missing that were signed', async () => {
    const { places, path } = await writtenLedger(5)
    const lines = (await readFile(path, 'utf8')).split('\n')
    await writeFile(path, `${lines.slice(0, 3).join('\n')}\n`)
    const log = new RecordingLog()
    const ledger = await openLedger({ ...places, log })
    await ledger.flush()
    expect(await ledger.newest(undefined, 1)).toMatchObject([
      { seq: 4, kind: 'ledger-shortened', facts: { signedEntries: 5, foundEntries: 3 } },
    ])
    expect(log.lines.some(({ message }) => message.includes('its end is missing'))).toBe(true)
  })

  it('waits for a disk that refuses, keeps the order, and tells what it had no room for', async () => {
    const faulty = new FaultyFileSystem()
    const places = await makePlaces(faulty)
    const ledger = await openLedger(places, { waitingLimitBytes: 2000 })
    ledger.append('claimed', UUID, { number: 0 })
    await ledger.flush()
    faulty.before = (step) => {
      if (step === 'file.write') throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
    }
    for (let number = 1; number <= 50; number++) ledger.append('claimed', UUID, { number })
    await expect(ledger.flush()).rejects.toMatchObject({ code: 'STORE_FULL' })
    const { lost } = ledger.standing
    expect(lost).toBeGreaterThan(20)
    faulty.before = () => {}
    await ledger.flush()
    await ledger.flush()
    const entries = await ledger.newest(undefined, 100)
    expect(entries.at(-1)).toMatchObject({ kind: 'ledger-gap', facts: { lost } })
    expect(entries.slice(0, -1).map(({ facts }) => facts.number)).toEqual([...Array(51 - lost).keys()])
    expect(await ledger.check()).toMatchObject({ faults: [] })
  })

  it('leaves out the facts of an entry that is far too large, and says so', async () => {
    const places = await makePlaces()
    const ledger = await openLedger(places)
    ledger.append('claimed', UUID, { text: 'x'.repeat(100_000) })
    await ledger.flush()
    expect(await ledger.newest(undefined, 1)).toMatchObject([{ facts: { leftOutBytes: expect.any(Number) } }])
  })
})

describe('the check', () => {
  it('finds any byte that is changed, and names the entry or the one behind it', async () => {
    const { places, path } = await writtenLedger(8)
    const good = await readFile(path)
    expect((await check(places)).faults).toEqual([])
    const property = fc.asyncProperty(
      fc.nat(good.length - 1),
      fc.integer({ min: 1, max: 255 }),
      async (position, difference) => {
        const bad = Buffer.from(good)
        bad[position]! ^= difference
        await writeFile(path, bad)
        const { faults, unfinishedBytes } = await check(places)
        // The very last newline: what stands before it is then no whole line.
        if (position === good.length - 1) return unfinishedBytes > 0
        const seq = good.subarray(0, position).toString('latin1').split('\n').length
        return faults.length > 0 && faults[0]!.seq === seq
      },
    )
    await fc.assert(property, { numRuns: 300 })
  })

  it('finds any entry that is removed, put in twice, or swapped with another', async () => {
    const { places, path } = await writtenLedger(12)
    const lines = (await readFile(path, 'utf8')).split('\n').slice(0, -1)
    const place = fc.nat(lines.length - 2)
    const property = fc.asyncProperty(place, place, fc.constantFrom('remove', 'insert', 'swap'), async (a, b, how) => {
      const bad = [...lines]
      if (how === 'remove') bad.splice(a, 1)
      else if (how === 'insert') bad.splice(a, 0, lines[b]!)
      else [bad[a], bad[b]] = [bad[b]!, bad[a]!]
      await writeFile(path, `${bad.join('\n')}\n`)
      const { faults } = await check(places)
      return (how === 'swap' && a === b) === (faults.length === 0)
    })
    await fc.assert(property, { numRuns: 200 })
  })

  it('finds an entry that somebody wrote anew, checksum and all', async () => {
    const { places, path } = await writtenLedger(5)
    const forged = await writtenLedger(5)
    const lines = (await readFile(path, 'utf8')).split('\n')
    const others = (await readFile(forged.path, 'utf8')).split('\n')
    lines[5] = others[5]!
    await writeFile(path, lines.join('\n'))
    const { faults } = await check(places)
    // The same entry, signed by another mirror.
    expect(faults[0]).toMatchObject({ seq: 6, segment: 'ledger/000001.jsonl', line: 6 })
  })

  it('finds an entry whose words were changed and sealed anew, by the hash that the next one has of it', async () => {
    const { places, path } = await writtenLedger(5)
    const lines = (await readFile(path, 'utf8')).split('\n')
    lines[2] = sealedAnew(lines[2]!.replace('"number":3', '"number":9'))
    await writeFile(path, lines.join('\n'))
    const reason = expect.stringContaining('entry 3 is not the one that was written')
    expect((await check(places)).faults).toEqual([expect.objectContaining({ seq: 3, line: 4, complaint: reason })])
  })

  it('finds a change after which everything was chained anew, by what the key has signed', async () => {
    const { places, path } = await writtenLedger(5)
    const lines = (await readFile(path, 'utf8')).split('\n')
    lines[2] = sealedAnew(lines[2]!.replace('"number":3', '"number":9'))
    for (let place = 3; place < 6; place++) {
      const previous = `"previous":"${hashOfLine(Buffer.from(lines[place - 1]!))}"`
      lines[place] = sealedAnew(lines[place]!.replace(/"previous":"[0-9a-f]{64}"/, previous))
    }
    await writeFile(path, lines.join('\n'))
    const reason = expect.stringContaining('entry 6 proves nothing')
    expect((await check(places)).faults).toEqual([expect.objectContaining({ seq: 6, complaint: reason })])
  })

  it('finds a segment that is missing, the first one too', async () => {
    const { places } = await writtenLedger(20, { segmentBytes: 1000 })
    const directory = join(places.root, 'ledger')
    await rm(join(directory, '000003.jsonl'))
    expect((await check(places)).faults[0]!.complaint).toContain('missing')
    await rm(join(directory, '000001.jsonl'))
    expect((await check(places)).faults[0]!.complaint).toContain('ledger/000001.jsonl is missing')
  })
})
