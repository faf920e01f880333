/*
 * How long a ledger of many entries takes, by hand: npx tsx scripts/ledger.ts [entries]
 * The figures in docs/audit.md are from here.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { reportOf } from '../src/mirror/operations/audit-report.js'
import { verifyLedger } from '../src/mirror/operations/verify-ledger.js'
import { silentLog } from '../src/parts/log.js'
import { DiskLedgerStore } from '../src/store/disk-ledger-store.js'
import { nodeFileSystem } from '../src/store/file-system.js'

const entries = Number(process.argv[2] ?? 1_000_000)
const IMAGES = 20_000

const root = await mkdtemp(join(tmpdir(), 'imgapi-mirror-ledger-'))
const partial = join(root, 'partial')
await mkdir(partial)
const places = { root, partial, fileSystem: nodeFileSystem, log: silentLog, now: Date.now }
const uuids = Array.from({ length: IMAGES }, () => randomUUID())
let peakBytes = 0
const watch = setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
}, 50)

async function time(what: string, work: () => Promise<unknown>): Promise<void> {
  peakBytes = process.memoryUsage.rss()
  const startMs = performance.now()
  const result = await work()
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1)
  console.log(`${what}: ${seconds} s, ${Math.round(peakBytes / 1e6)} MB at most${result ? `, ${String(result)}` : ''}`)
}

const file = (number: number) => {
  const sha256 = number.toString(16).padStart(64, '0')
  return { sizeBytes: 1_000_000, sha256, sha1: sha256.slice(24), md5: sha256.slice(32) }
}

try {
  const ledger = await DiskLedgerStore.open(places)
  await time(`append ${entries} entries`, async () => {
    for (let number = 0; number < entries; number++) {
      const which = number % IMAGES
      const common = { upstream: 'one', name: `image-${which}`, version: '1.0.0' }
      const kind = (['claimed', 'held', 'scrubbed'] as const)[Math.floor(number / IMAGES) % 3]!
      const facts =
        kind === 'scrubbed'
          ? { sha256: file(which).sha256, sizeBytes: 1_000_000, isGood: true, images: [uuids[which]] }
          : { ...common, files: [file(which)] }
      ledger.append(kind, uuids[which], facts)
      if (number % 1000 === 0) await nextTurn()
      if (number % 20_000 === 0) await ledger.flush()
    }
    await ledger.sign()
    return `${ledger.standing.lost} lost`
  })
  await ledger.close()
  await time('start', async () => void (await (await DiskLedgerStore.open(places)).close()))
  await time('verify', async () => {
    const { entries: found, faultsFound, sizeBytes } = await verifyLedger(ledger, {})
    return `${found} entries, ${faultsFound} faults, ${Math.round(sizeBytes / 1e6)} MB`
  })
  await time('report', async () => {
    const report = await reportOf(ledger, { sinceMs: 0, untilMs: Date.now() })
    return `${report.totals.imagesHeld} images`
  })
  await time('the 100 newest about one image', async () => (await ledger.newest(uuids[7], 100)).length)
} finally {
  clearInterval(watch)
  await rm(root, { recursive: true, force: true })
}
