import { MirrorError } from '../errors.js'
import type { Manifest } from '../images/manifest.js'
import { abortable } from '../parts/abortable.js'
import type { Priority } from '../upstream/upstream.js'
import type { Flight } from './flight.js'

/** How a file of an image comes here. */
export interface PullWays {
  /** Makes the file of an image that is made here, of what an upstream has; `undefined` for all others. */
  readonly make: (manifest: Manifest, priority: Priority) => Promise<void> | undefined
  /**
   * The flight of a file that is not kept, begun or joined. @throws MirrorError UPSTREAM_UNREACHABLE when nobody offers it.
   * @param by who has it begun, for the ledger, where nobody has asked.
   */
  readonly fly: (manifest: Manifest, fileIndex: number, by?: string) => Flight
  /** Resolves when an image whose files are all kept is written down as held. */
  readonly held: (manifest: Manifest) => Promise<void>
}

export interface FilePull {
  readonly manifest: Manifest
  readonly fileIndex: number
  /** Background: it goes behind all that clients wait for, and waits while the line is closed. */
  readonly priority: Priority
  readonly by?: string
  /** Ends it, unless others wait for the file too. What came stays, for the next one. */
  readonly signal: AbortSignal
  /** Told now and then how many bytes are here. */
  readonly onProgress: (doneBytes: number) => void
}

const PROGRESS_EVERY_MS = 250

/**
 * Fetches a file that is not here, and has its image written down as held if it was the last.
 * @throws MirrorError STORE_FULL when there is no room to keep it; what its flight fails with, and the signal's reason.
 */
export async function pullFile(pull: FilePull, { fly, held, make }: PullWays): Promise<void> {
  const { by, fileIndex, manifest, onProgress, priority, signal } = pull
  const { sizeBytes } = manifest.files[fileIndex]!
  const making = make(manifest, priority)
  if (making) {
    // Others may wait for it too: it goes on without us.
    await abortable(making, signal)
    await held(manifest)
    onProgress(sizeBytes)
    return
  }
  const flight = fly(manifest, fileIndex, by)
  // As urgent as for a client from now on.
  if (priority === 'client') flight.retain()
  const ownHolds = priority === 'client' ? 1 : 0
  const abandon = (reason: MirrorError) => {
    // Others who wait for it keep it going.
    if (flight.readers === ownHolds) flight.abort(reason)
  }
  const teller = setInterval(() => {
    onProgress(Math.min(flight.receivedBytes, sizeBytes))
    // Nobody would have anything of bytes that pass by.
    if (flight.isPassing) abandon(noRoomFor(manifest, sizeBytes))
  }, PROGRESS_EVERY_MS)
  try {
    const landed = await abortable(flight.ended, signal)
    if (!landed.fingerprint) throw noRoomFor(manifest, sizeBytes)
    await held(manifest)
    onProgress(sizeBytes)
  } finally {
    clearInterval(teller)
    if (signal.aborted) abandon(new MirrorError('JOB_OVER', 'whoever wanted this wants it no more, or not now'))
    if (signal.aborted) onProgress(Math.min(flight.receivedBytes, sizeBytes))
    if (priority === 'client') await flight.release()
  }
}

function noRoomFor({ uuid }: Manifest, sizeBytes: number): MirrorError {
  const needed = `its file needs ${sizeBytes} bytes, and status says what is free`
  return new MirrorError('STORE_FULL', `there is no room to keep image ${uuid}: ${needed}`)
}
