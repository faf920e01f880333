import { randomUUID } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import type { FileSystem } from './file-system.js'
import { ensureDirectory, writeWhole } from './whole-files.js'

/** The data directory, its place for files being written, and the disk. */
export interface Places {
  readonly root: string
  readonly partial: string
  readonly fileSystem: FileSystem
}

/**
 * Takes a small file that is damaged out of the way, into `quarantine/`, where it stays until an operator removes it, with
 * JSON beside it that says why. Answers its new path.
 */
export async function setFileAside(places: Places, path: string, evidence: object): Promise<string> {
  const { fileSystem } = places
  const aside = await writeEvidence(places, path, evidence)
  await fileSystem.rename(path, aside)
  await fileSystem.syncDirectory(dirname(aside))
  await fileSystem.syncDirectory(dirname(path))
  return aside
}

/** Writes down what is known of damage in a file. Answers the path in `quarantine/` that this is the JSON of. */
export async function writeEvidence({ root, partial, fileSystem }: Places, path: string, evidence: object) {
  const directory = join(root, 'quarantine')
  await ensureDirectory(fileSystem, directory)
  const aside = join(directory, `${basename(path)}-${randomUUID()}`)
  const json = JSON.stringify({ path, foundAt: new Date().toISOString(), ...evidence }, null, 2)
  await writeWhole(fileSystem, `${aside}.evidence.json`, Buffer.from(`${json}\n`), partial)
  return aside
}
