import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { temporaryDirectory } from '../support/temporary.js'
import { killedSizes } from './killed-sizes.js'
import { openDisk, snapshot, writeMadeUp } from './volumes.js'

const seed = Math.floor(Math.random() * 2 ** 31)
const LANES = 4
/** By hand, more: `ROUNDS=500 npx vitest run test/bundle/volume-kill.test.ts`. */
const ROUNDS = Number(process.env.ROUNDS ?? 20)
const program = fileURLToPath(new URL('write-until-killed.ts', import.meta.url))

describe(`a volume whose writer is killed at random moments (seed ${seed})`, () => {
  it('is written to its end by the next, with the same bytes', { timeout: ROUNDS * 15_000 }, async () => {
    const right = await temporaryDirectory()
    const begunMs = performance.now()
    await writeMadeUp(await openDisk(right), killedSizes)
    const spanMs = performance.now() - begunMs
    const whole = await snapshot(right)
    let killed = 0
    const lane = async (number: number) => {
      const root = await temporaryDirectory()
      for (let round = number; round < ROUNDS; round += LANES) {
        if (await killAfter(root, fraction(round) * spanMs * 1.5)) killed++
        const found = await snapshot(root)
        // Whatever says that it is finished is.
        if ('volume/volume.json' in found) expect(found, `round ${round}`).toEqual(whole)
      }
      const { index } = await writeMadeUp(await openDisk(root), killedSizes)
      expect(await snapshot(root)).toEqual(whole)
      expect(index.files).toHaveLength(killedSizes.sizes.length + 2)
    }
    await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)))
    expect(killed).toBeGreaterThan(ROUNDS / 4)
  })
})

/** Between 0 and 1, by seed and round. */
function fraction(round: number): number {
  return ((Math.imul(seed + round * 7919, 2_654_435_761) >>> 0) % 10_000) / 10_000
}

/** @returns whether it was still at work. */
async function killAfter(root: string, afterMs: number): Promise<boolean> {
  const child = spawn(process.execPath, ['--import', 'tsx', program, root], { stdio: ['ignore', 'pipe', 'inherit'] })
  // It may have written all, and be gone, before its time has come.
  const exited = once(child, 'exit')
  let isDone = false
  child.stdout.on('data', (bytes: Buffer) => {
    isDone ||= bytes.includes('done')
  })
  await Promise.race([once(child.stdout, 'data'), exited])
  await new Promise((resolve) => setTimeout(resolve, afterMs))
  child.kill('SIGKILL')
  await exited
  return !isDone
}
