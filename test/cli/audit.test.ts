import { createPrivateKey } from 'node:crypto'
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { openLedger } from '../../src/assemble/open-ledger.js'
import type { Happenings } from '../../src/mirror/ledger.js'
import { silentLog } from '../../src/parts/log.js'
import { DiskLedgerStore } from '../../src/store/disk-ledger-store.js'
import { nodeFileSystem } from '../../src/store/file-system.js'
import { temporaryDirectory } from '../support/temporary.js'
import { runCommand } from './run-command.js'

const BASE = '11111111-1111-4111-8111-111111111111'
const GONE = '22222222-2222-4222-8222-222222222222'
const FILE = { sizeBytes: 300_000, sha256: 'ab'.repeat(32), sha1: 'cd'.repeat(20), md5: 'ef'.repeat(16) }
const HELD = { upstream: 'central', name: 'base-64', version: '21.4.0', files: [FILE] }
/** The same key every time, and so the same signatures: a private key in PKCS #8 is this, and its 32 bytes (RFC 8410, 7). */
const KEY = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 7)])

/** A ledger that is the same to the last byte whenever it is made: an entry every hour, and a head at the end. */
async function makeLedger(): Promise<string> {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  for (const directory of [partial, join(root, 'keys')]) await mkdir(directory)
  const key = createPrivateKey({ key: KEY, format: 'der', type: 'pkcs8' })
  await writeFile(join(root, 'keys', 'mirror.key'), key.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 })
  let nowMs = Date.UTC(2026, 0, 2)
  const now = () => {
    nowMs += 3_600_000
    return nowMs
  }
  const ledger = await DiskLedgerStore.open({ root, partial, fileSystem: nodeFileSystem, log: silentLog, now })
  const record = <Kind extends keyof Happenings>(kind: Kind, image: string | undefined, facts: Happenings[Kind]) =>
    ledger.append(kind, image, facts)
  record('started', undefined, { version: '1.2.3' })
  record('claimed', BASE, { ...HELD, isListed: true })
  record('verified', BASE, { fileIndex: 0, declared: { sizeBytes: FILE.sizeBytes, sha1: FILE.sha1 }, ...FILE })
  record('held', BASE, HELD)
  record('pinned', BASE, { by: 'alice', reason: 'all our zones build on it' })
  record('held', GONE, { ...HELD, name: 'ubuntu', files: [{ ...FILE, sha256: '12'.repeat(32) }] })
  record('served', BASE, { day: '2026-01-02', times: 3 })
  record('deleted', GONE, { by: 'bob', sha256s: ['12'.repeat(32)], sizeBytes: FILE.sizeBytes })
  record('pull-failed', GONE, { fileIndex: 0, reason: 'central: the other side closed' })
  await ledger.sign()
  await ledger.close()
  return root
}

type Session = readonly (readonly [line: string, columns?: number])[]

/** In order, over one ledger; `cut` takes its last two entries away, `spoil` changes a byte of it. */
const SESSIONS: Record<string, Session> = {
  'audit-head': [['audit head --data DIR'], ['audit head --data NOWHERE']],
  'audit-verify': [
    ['audit verify --data DIR'],
    ['audit verify --data DIR --head KEPT'],
    ['cut'],
    ['audit verify --data DIR --head KEPT'],
    ['spoil'],
    ['audit verify --data DIR'],
    ['audit verify --data NOWHERE'],
  ],
  'audit-log': [
    ['audit log --data DIR', 80],
    ['audit log --data DIR', 200],
    [`audit log --data DIR ${GONE} -n 2 -o entry,kind,facts`],
    ['audit log --data DIR -H -o kind'],
    ['audit log --data DIR base-64'],
    ['audit log --data NOWHERE'],
    ['audit log --data DIR -n many'],
  ],
  'audit-report': [
    ['audit report --data DIR --until 2026-01-03'],
    ['audit report --data DIR --until 2026-01-03 --csv'],
    ['audit report --data DIR --since 2026-01-02T06:00:00Z --until 2026-01-03 --html'],
    ['audit report --data DIR --csv --html'],
    ['audit report --data DIR --since yesterday'],
    ['audit report --data DIR --since 2026-01-03 --until 2026-01-02'],
    ['audit report --data NOWHERE --csv'],
  ],
}

describe('an auditor', () => {
  it.each(Object.keys(SESSIONS))('sees what is in golden/%s.txt', async (name) => {
    const directory = await makeLedger()
    const ledger = join(directory, 'ledger', '000001.jsonl')
    const kept = join(directory, 'kept-elsewhere.txt')
    const head = (await openLedger(directory).signedHead())!
    await writeFile(kept, `${head.text}\n${head.signature}`)
    const places = { DIR: directory, NOWHERE: join(directory, 'nowhere'), KEPT: kept }
    let transcript = ''
    for (const [line, columns] of SESSIONS[name]!) {
      const bytes = await readFile(ledger)
      if (line === 'cut') await truncate(ledger, bytes.lastIndexOf('\n', bytes.lastIndexOf('\n', -2) - 1) + 1)
      else if (line === 'spoil')
        await writeFile(ledger, bytes.fill('X', bytes.indexOf('alice'), bytes.indexOf('alice') + 1))
      if (line === 'cut' || line === 'spoil') {
        transcript += `# ${line}\n\n`
        continue
      }
      const args = line.split(' ').map((word) => places[word as keyof typeof places] ?? word)
      const { code, err, out } = await runCommand(args, {
        openLedger,
        ...(columns !== undefined && { terminal: { columns: () => columns } }),
      })
      const where = columns === undefined ? '' : `   # ${columns} columns`
      let said = out + err
      for (const [word, path] of Object.entries(places).toReversed()) said = said.replaceAll(path, word)
      // The one thing that is not of the ledger.
      said = said.replace(/("madeMs": )\d+/, '$1NOW').replace(/(made )\d{4}-\d\d-\d\dT[\d:.]+Z/i, '$1NOW')
      transcript += `$ imgapi-mirror ${line}${where}\n${said}=> ${code}\n\n`
      if (columns) for (const each of out.split('\n')) expect([...each].length, each).toBeLessThanOrEqual(columns)
    }
    await expect(transcript).toMatchFileSnapshot(fileURLToPath(new URL(`golden/${name}.txt`, import.meta.url)))
  })
})
