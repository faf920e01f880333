import { resolve } from 'node:path'
import { nodeFileSystem } from '../store/file-system.js'
import { LedgerFiles } from '../store/ledger-files.js'
import type { LedgerReader } from '../store/ledger-store.js'

/** The ledger in a data directory, to be read only: it needs no lock, and bothers no mirror that uses the directory. */
export function openLedger(directory: string): LedgerReader {
  return new LedgerFiles({ root: resolve(directory), fileSystem: nodeFileSystem })
}
