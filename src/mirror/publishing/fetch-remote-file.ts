import { MirrorError } from '../../errors.js'
import type { Statement } from '../../images/claim.js'
import { type Digest, strongestDigest } from '../../images/digest.js'
import type { BlobStore, Fingerprint, OpenBlob } from '../../store/blob-store.js'
import type { HeldFile } from '../../store/image-store.js'
import type { Upstream } from '../../upstream/upstream.js'
import type { Flight } from '../flight.js'
import type { Flights } from '../flights.js'
import { MAX_FILE_BYTES } from './receive-upload.js'

export interface FetchedFile {
  readonly held: HeldFile
  readonly fingerprint: Pick<Fingerprint, 'sha1' | 'sizeBytes'>
  /** The file, held open so that nobody lets go of it before it belongs to an image. To be closed. */
  readonly lease: OpenBlob
}

export interface FetchOptions {
  readonly flights: Flights
  readonly blobs: Pick<BlobStore, 'find' | 'open'>
  /** As PartialBlob.keep has it; not asked where somebody else is fetching the file already, or it is here. */
  readonly beforeNaming: (sha256: string) => Promise<void>
  /** Told now and then of how much has come. */
  readonly onProgress?: ((receivedBytes: number) => void) | undefined
}

/**
 * Fetches the file of a remote image as a flight like any other: verified, shared with whoever fetches the same bytes, and gone on
 * with where an earlier one was cut. A file that is here already is not fetched.
 *
 * @throws MirrorError DOWNLOAD_REFUSED for an image without a file, or with too large a one; STORE_FULL; what ends the flight.
 */
export async function fetchRemoteFile(
  source: Upstream,
  statement: Statement,
  { beforeNaming, blobs, flights, onProgress }: FetchOptions,
): Promise<FetchedFile> {
  const { manifest } = statement
  const { uuid } = manifest
  const [file] = manifest.files
  if (!file) throw new MirrorError('DOWNLOAD_REFUSED', `image ${uuid} has no file at ${source.url}`)
  if (file.sizeBytes > MAX_FILE_BYTES) {
    const complaint = `image file size, ${file.sizeBytes}, exceeds the maximum allowed file size, 20 GiB`
    throw new MirrorError('DOWNLOAD_REFUSED', complaint)
  }
  const here = await openKept(blobs, strongestDigest(file.digests), file.sizeBytes)
  if (here)
    return { held: { sha256: here.ref.sha256, extents: [], corrections: [] }, fingerprint: here.ref, lease: here }
  const now = Date.now()
  const claim = {
    ...statement,
    upstream: source.name,
    isListed: false,
    firstHeardMs: now,
    lastHeardMs: now,
    withdrawnMs: undefined,
  }
  const offers = [{ upstream: source, claim, connections: 1 }]
  const flight = flights.find(manifest, 0) ?? flights.start(manifest, 0, offers, beforeNaming)
  const watched = watch(flight, onProgress)
  const { fingerprint, extents, corrections } = await flight.ended
  await watched
  const lease = fingerprint && (await blobs.open(fingerprint.sha256))
  if (!fingerprint || !lease) throw new MirrorError('STORE_FULL', `no room to keep the file of image ${uuid}`)
  return { held: { sha256: fingerprint.sha256, extents, corrections }, fingerprint, lease }
}

async function openKept(
  blobs: FetchOptions['blobs'],
  digest: Digest | undefined,
  sizeBytes: number,
): Promise<OpenBlob | undefined> {
  const kept = digest && blobs.find(digest, sizeBytes)
  return kept && (await blobs.open(kept.sha256))
}

async function watch(flight: Flight, onProgress: FetchOptions['onProgress']): Promise<void> {
  if (!onProgress) return
  let isOver = false
  const end = () => {
    isOver = true
  }
  const ended = flight.ended.then(end, end)
  while (!isOver) {
    onProgress(flight.receivedBytes)
    await Promise.race([flight.change, ended])
  }
}
