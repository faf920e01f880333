import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openLedger } from '../../src/assemble/open-ledger.js'
import { verifyLedger } from '../../src/mirror/operations/verify-ledger.js'
import { temporaryDirectory } from '../support/temporary.js'
import { seeded } from './campaign.js'

const seed = Math.floor(Math.random() * 2 ** 31)
const ROUNDS = 6

/** Appends until it is killed, at a random moment after something became durable. Answers the last entry that it told us was. */
async function appendAndDie(directory: string, random: () => number): Promise<number> {
  const program = join(import.meta.dirname, 'append-forever.ts')
  const child = spawn(process.execPath, ['--import', 'tsx', program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  onTestFinished(() => void child.kill('SIGKILL'))
  let durable = 0
  const lines = createInterface({ input: child.stdout })
  const ended = once(lines, 'close')
  lines.on('line', (line) => {
    durable = Number(line)
  })
  await Promise.race([once(lines, 'line'), exited])
  await wait(random() * 150)
  child.kill('SIGKILL')
  expect((await exited)[1], 'it was killed, and did not fail').toBe('SIGKILL')
  await ended
  return durable
}

/** What a power cut may do besides: of what was not durable yet, only a part is on the disk. */
async function losePower(directory: string, durable: number, random: () => number): Promise<void> {
  const ledger = join(directory, 'ledger')
  const last = (await readdir(ledger))
    .filter((name) => name.endsWith('.jsonl'))
    .toSorted()
    .at(-1)!
  const bytes = await readFile(join(ledger, last))
  // An earlier entry, or none, in a file that was just begun: nothing of it need have stayed.
  const lineStart = bytes.indexOf(`,"seq":${durable},"crc32":`)
  const keptBytes = lineStart < 0 ? 0 : bytes.indexOf('\n', lineStart) + 1
  await truncate(join(ledger, last), keptBytes + Math.floor(random() * (bytes.length - keptBytes)))
}

describe(`a ledger whose writer is killed (seed ${seed})`, () => {
  it('keeps what was durable, in one chain, and tells of a torn end and of nothing else', {
    timeout: 60_000,
  }, async () => {
    const random = seeded(seed)
    const directory = await temporaryDirectory()
    let torn = 0
    for (let round = 0; round < ROUNDS; round++) {
      const told = await appendAndDie(directory, random)
      const head = await openLedger(directory).signedHead()
      // A head is written into its file only when the entry that it stands in, the next one, is durable.
      const durable = Math.max(told, head ? head.entries + 1 : 0)
      if (round % 2 === 1) await losePower(directory, durable, random)
      // As an auditor finds it before anybody starts again: a torn end is told, and is no fault.
      const verdict = await verifyLedger(openLedger(directory), {})
      expect(verdict).toMatchObject({ isIntact: true, faults: [], faultsFound: 0 })
      expect(verdict.entries).toBeGreaterThanOrEqual(durable)
      if (verdict.unfinishedBytes > 0) torn++
    }
    await appendAndDie(directory, random)
    const kinds = new Map<string, number>()
    for await (const entries of openLedger(directory).entries()) {
      for (const { kind } of entries) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    }
    const { claimed, head: _heads, started, 'ledger-cut': cuts = 0, ...others } = Object.fromEntries(kinds)
    expect(others).toEqual({})
    expect(started).toBe(ROUNDS + 1)
    expect(claimed).toBeGreaterThan(0)
    expect(cuts).toBe(torn)
  })
})
