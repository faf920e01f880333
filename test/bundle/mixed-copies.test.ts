import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { mixedCopies } from '../../src/bundle/mixed-copies.js'
import { temporaryDirectory } from '../support/temporary.js'
import { openDisk } from './volumes.js'

const SECTOR_BYTES = 4096

/** What is tried of two copies that differ in so many sectors, as far as a hundredth trial. */
async function tried(sectors: number): Promise<number> {
  const root = await temporaryDirectory()
  await fs.writeFile(join(root, 'one'), Buffer.alloc(sectors * SECTOR_BYTES, 1))
  await fs.writeFile(join(root, 'other'), Buffer.alloc(sectors * SECTOR_BYTES, 2))
  const seen = new Set<string>()
  for await (const bytes of mixedCopies(await openDisk(root), ['one', 'other'], sectors * SECTOR_BYTES)) {
    seen.add(bytes.toString('latin1'))
    if (seen.size >= 100) break
  }
  return seen.size
}

it('tries every way to put two copies together, where that is not too many', async () => {
  expect(await tried(3)).toBe(8)
})

it('tries only the copies themselves, where a liar would have us try for days', async () => {
  expect(await tried(20)).toBe(2)
})
