import { isMirrorError } from '../errors.js'
import type { Medium } from '../store/medium.js'
import { copyOf } from './small-files.js'
import { volumePath } from './volume-path.js'

const MOST_DIRECTORIES = 10_000
const MOST_ENTRIES = 10_000
const DEPTH = 2

/**
 * Directories of a medium that are volumes: itself, or those up to two levels down, by their names. One whose volume.json is gone is found by the copy.
 * Of a medium with more than 10,000 directories only those are looked at that come first.
 * @throws MirrorError MEDIUM_UNREADABLE when the medium itself cannot be listed.
 */
export async function findVolumes(medium: Medium): Promise<readonly string[]> {
  const found: string[] = []
  let level = ['']
  let looked = 0
  for (let depth = 0; depth <= DEPTH; depth++) {
    const next: string[] = []
    for (const directory of level) {
      if (++looked > MOST_DIRECTORIES) return found
      const inner = await look(medium, directory)
      if (inner === 'volume') found.push(directory)
      else next.push(...inner)
    }
    level = next
  }
  return found
}

/** @returns what directories are in it, if it is no volume itself. */
async function look(medium: Medium, directory: string): Promise<'volume' | string[]> {
  try {
    const entries = await medium.list(directory, MOST_ENTRIES)
    if (entries.some(({ name, isDirectory }) => name === 'volume.json' && !isDirectory)) return 'volume'
    const hasCopies = entries.some(({ name, isDirectory }) => name === 'copies' && isDirectory)
    if (hasCopies && (await isThere(medium, volumePath(directory, copyOf('volume.json'))))) return 'volume'
    const names = entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name)
    return names.sort().map((name) => volumePath(directory, name))
  } catch (error) {
    // Any other is somebody else's affair, and may well be unreadable to us.
    if (directory !== '' && isMirrorError(error, 'MEDIUM_UNREADABLE')) return []
    throw error
  }
}

async function isThere(medium: Medium, path: string): Promise<boolean> {
  const file = await medium.open(path)
  await file?.close()
  return file !== undefined
}
