import type { MirrorError } from '../errors.js'
import type { Log } from '../parts/log.js'
import { bootIdentity } from './boot-identity.js'
import { ClaimLog } from './claim-log.js'
import { DataDirectory, type Migration } from './data-directory.js'
import { DiskArrivalStore } from './disk-arrival-store.js'
import { DiskBlobStore } from './disk-blob-store.js'
import { DiskIconStore } from './disk-icon-store.js'
import { DiskImageStore } from './disk-image-store.js'
import { DiskLedgerStore } from './disk-ledger-store.js'
import { DiskRegistryStore } from './disk-registry-store.js'
import { ExportFile } from './export-file.js'
import { type FileSystem, nodeFileSystem } from './file-system.js'
import { foreignDirectory } from './foreign-directory.js'
import { MirrorKey } from './mirror-key.js'
import { PinFile } from './pin-file.js'
import { PrewarmFile } from './prewarm-file.js'
import { ScrubLog } from './scrub-log.js'
import type { Store } from './store.js'
import { UnsettledFile } from './unsettled-file.js'

export interface OpenStoreOptions {
  /** The data directory; made where there is none. */
  readonly directory: string
  readonly log: Log
  /**
   * The data directory is another process's now, or another one: everything that could write into it has to end at once, without
   * being closed. Called once at most.
   */
  readonly onLost?: ((reason: MirrorError) => void) | undefined
  /** For tests: a disk that records, or fails. */
  readonly fileSystem?: FileSystem
  /** For tests: what leads from one format version to the next. */
  readonly migrations?: readonly Migration[]
  /** The clock, in milliseconds since 1970. */
  readonly now?: () => number
  /** For tests: which start of the machine this is; see boot-identity.ts. */
  readonly boot?: string
  /** For tests: after how many bytes a download is synced. */
  readonly syncIntervalBytes?: number
  /** For tests that open thousands of stores; see DataDirectoryOptions. */
  readonly isForManyStarts?: boolean
}

/**
 * Opens everything we keep. The caller closes it, after whatever reads from it or writes to it.
 * @throws MirrorError STORE_LOCKED when another process has the data directory; STORE_UNUSABLE when it is of a newer
 *   release, not ours, or may not be written; STORE_FULL, STORE_BROKEN.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { directory, log, fileSystem = nodeFileSystem, migrations, now = Date.now, syncIntervalBytes } = options
  const { isForManyStarts = false } = options
  const closers: (() => Promise<void>)[] = []
  const closeAll = async () => {
    let failure: { readonly error: unknown } | undefined
    for (const close of closers.splice(0).reverse()) {
      await close().catch((error: unknown) => {
        failure ??= { error }
      })
    }
    if (failure) throw failure.error
  }
  try {
    const data = await DataDirectory.open(directory, {
      fileSystem,
      log,
      isForManyStarts,
      onLost: options.onLost,
      ...(migrations && { migrations }),
    })
    closers.push(() => data.close())
    const places = { root: data.path, partial: data.partial, fileSystem, log }
    const key = new MirrorKey(places)
    const ledger = await DiskLedgerStore.open({ ...places, key, now })
    closers.push(() => ledger.close())
    const blobs = await DiskBlobStore.open({
      ...places,
      now,
      boot: options.boot ?? (await bootIdentity()),
      ...(syncIntervalBytes !== undefined && { syncIntervalBytes }),
    })
    closers.push(() => blobs.close())
    const images = await DiskImageStore.open(places)
    closers.push(() => images.close())
    const icons = await DiskIconStore.open(places)
    closers.push(() => icons.close())
    const claims = await ClaimLog.open(places)
    closers.push(() => claims.close())
    const registry = await DiskRegistryStore.open(places)
    closers.push(() => registry.close())
    const scrub = new ScrubLog(places)
    closers.push(() => scrub.close())
    const pins = new PinFile(places)
    closers.push(() => pins.close())
    const prewarming = new PrewarmFile(places)
    closers.push(() => prewarming.close())
    const unsettled = new UnsettledFile(places)
    closers.push(() => unsettled.close())
    const arrivals = await DiskArrivalStore.open(places)
    closers.push(() => arrivals.close())
    const exports = new ExportFile(places)
    closers.push(() => exports.close())
    return {
      blobs,
      images,
      icons,
      claims,
      registry,
      scrub,
      ledger,
      pins,
      prewarming,
      unsettled,
      arrivals,
      exports,
      foreign: foreignDirectory,
      signer: () => key.signer(),
      complaints: () => data.complaints(),
      close: closeAll,
    }
  } catch (cause) {
    await closeAll().catch(() => {})
    throw cause
  }
}
