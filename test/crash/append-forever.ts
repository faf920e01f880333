/*
 * Appends to the ledger of a data directory until it is killed, and tells on its output up to which entry it is durable.
 * Run by `ledger.test.ts` as a process of its own: node --import tsx append-forever.ts DIRECTORY
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { silentLog } from '../../src/parts/log.js'
import { DiskLedgerStore } from '../../src/store/disk-ledger-store.js'
import { nodeFileSystem } from '../../src/store/file-system.js'

const root = process.argv[2]!
const partial = join(root, 'partial')
await mkdir(partial, { recursive: true })
const options = { root, partial, fileSystem: nodeFileSystem, log: silentLog, now: Date.now, segmentBytes: 2 ** 20 }
const ledger = await DiskLedgerStore.open(options)
ledger.append('started', undefined, {})
// Large entries, so that a kill is likely to find the kernel half way through a batch.
const text = 'x'.repeat(20_000)
for (let round = 1; ; round++) {
  for (let number = 0; number < 40; number++) ledger.append('claimed', undefined, { round, number, text })
  const { entries } = ledger.standing
  await ledger.flush()
  if (round % 3 === 0) await ledger.sign()
  process.stdout.write(`${entries}\n`)
}
