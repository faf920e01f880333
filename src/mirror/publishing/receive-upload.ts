import { createHash } from 'node:crypto'
import { isMirrorError, MirrorError } from '../../errors.js'
import type { Fingerprint, OpenBlob, PartialBlob } from '../../store/blob-store.js'
import type { Room } from '../keeping/room.js'
import type { FileUpload } from '../publishing.js'

/** The most a file may have (sdc-imgapi, lib/constants.js, `MAX_IMAGE_SIZE`). */
export const MAX_FILE_BYTES = 20 * 1024 * 1024 * 1024
const MAX_FILE_WORDS = '20 GiB'
/** Of a body whose length nobody has said: for so much room is made at a time. */
const ROOM_STEP_BYTES = 64 * 1024 * 1024

export interface Received {
  readonly fingerprint: Fingerprint
  /** The file, held open so that nobody lets go of it before it belongs to an image. To be closed. */
  readonly lease: OpenBlob
}

export interface ReceivingOptions {
  readonly room: Pick<Room, 'receive' | 'makeRoom'>
  readonly open: (sha256: string) => Promise<OpenBlob | undefined>
  /** Runs `work` while no file is let go of because its image is. */
  readonly undisturbed: <Value>(work: () => Promise<Value>) => Promise<Value>
  /** As PartialBlob.keep has it. */
  readonly beforeNaming: (sha256: string) => Promise<void>
  /** Aborts when the mirror closes. */
  readonly closing: AbortSignal
}

type Upload = Pick<FileUpload, 'body' | 'sizeBytes' | 'sha1' | 'contentMd5' | 'signal'>

/**
 * Takes in a file that a client sends, hashing it as it arrives. It is kept whole and right, or not at all.
 *
 * @throws MirrorError UPLOAD_REFUSED when more is announced than may be; DOWNLOAD_REFUSED, in the reference's words, when what came is
 *   not what was announced, or was cut; STORE_FULL, STORE_BROKEN. Whatever is left of `body` then is the caller's to end.
 */
export async function receiveUpload(upload: Upload, options: ReceivingOptions): Promise<Received> {
  const { body, contentMd5, sha1, sizeBytes } = upload
  // It may fail while nobody reads it yet; whoever does is told.
  body.on('error', () => {})
  if (sizeBytes === 0) throw refusedAsEmpty()
  if (sizeBytes !== undefined && sizeBytes > MAX_FILE_BYTES) {
    const much = `image file size ${sizeBytes} (from Content-Length)`
    throw new MirrorError('UPLOAD_REFUSED', `${much} exceeds the maximum allowed size, ${MAX_FILE_WORDS}`)
  }
  const partial = await options.room.receive({
    sizeBytes: sizeBytes ?? MAX_FILE_BYTES,
    // Not known by it, and therefore of any form: only compared.
    digests: sha1 === undefined ? [] : [{ algorithm: 'sha1', hex: sha1 }],
    isOnce: true,
    ...(sizeBytes === undefined && { isOpenEnded: true }),
  })
  try {
    const md5 = contentMd5 === undefined ? undefined : createHash('md5')
    await absorb(upload, partial, options, (bytes) => md5?.update(bytes))
    if (sizeBytes === undefined) partial.end()
    if (partial.receivedBytes === 0) throw refusedAsEmpty()
    if (sizeBytes !== undefined && partial.receivedBytes !== sizeBytes) {
      throw refusedForLength(sizeBytes, partial.receivedBytes)
    }
    const found = sha1 === undefined ? undefined : await partial.digestNow()
    if (found !== sha1) {
      const complaint = `"sha1" hash, ${sha1}, does not match the uploaded file sha1 hash, ${found}`
      throw new MirrorError('DOWNLOAD_REFUSED', complaint)
    }
    const foundMd5 = md5?.digest('base64')
    if (foundMd5 !== contentMd5) {
      throw new MirrorError('DOWNLOAD_REFUSED', `Content-MD5 '${contentMd5}' didn't match '${foundMd5}'`)
    }
    // The same bytes may be those of an image that is deleted at this moment.
    const { fingerprint, lease } = await options.undisturbed(async () => {
      const kept = await partial.keep(options.beforeNaming)
      return { fingerprint: kept, lease: await options.open(kept.sha256) }
    })
    if (lease) return { fingerprint, lease }
    throw new MirrorError(
      'STORE_FULL',
      "the file was uploaded, but had to leave before it could be the image's: upload it again",
    )
  } finally {
    await partial.close()
  }
}

async function absorb(
  { body, signal, sizeBytes }: Upload,
  partial: PartialBlob,
  { closing, room }: ReceivingOptions,
  onBytes: (bytes: Buffer) => void,
): Promise<void> {
  const over = AbortSignal.any([signal, closing])
  const cut = () => body.destroy(over.reason instanceof Error ? over.reason : new Error('the client has left'))
  over.addEventListener('abort', cut, { once: true })
  let roomyBytes = 0
  try {
    over.throwIfAborted()
    // What refuses the bytes must still be able to answer on the connection they come on.
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      over.throwIfAborted()
      const endBytes = partial.receivedBytes + chunk.length
      if (endBytes > (sizeBytes ?? MAX_FILE_BYTES)) throw refusedAsTooLong(sizeBytes, endBytes)
      if (sizeBytes === undefined && endBytes > roomyBytes) {
        // Other images may leave for it. Where so much does not fit, every piece is asked for alone.
        if (await room.makeRoom(ROOM_STEP_BYTES)) roomyBytes = endBytes + ROOM_STEP_BYTES
        else if (!(await room.makeRoom(chunk.length))) throw noRoom()
      }
      onBytes(chunk)
      await append(partial, chunk, room)
    }
  } catch (error) {
    if (isMirrorError(closing.reason)) throw closing.reason
    // What a body fails with is how it was cut, wherever it comes from.
    if (isMirrorError(error) && !isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
    throw new MirrorError('DOWNLOAD_REFUSED', `the upload was cut after ${partial.receivedBytes} bytes`, {
      cause: error,
    })
  } finally {
    over.removeEventListener('abort', cut)
  }
}

/** Somebody else may have taken the room that was promised to us. */
async function append(partial: PartialBlob, chunk: Buffer, room: ReceivingOptions['room']): Promise<void> {
  try {
    await partial.append(chunk)
  } catch (error) {
    if (!isMirrorError(error, 'STORE_FULL') || !(await room.makeRoom(chunk.length))) throw error
    await partial.append(chunk)
  }
}

function refusedAsEmpty(): MirrorError {
  return new MirrorError('DOWNLOAD_REFUSED', 'image file size is 0 bytes, empty files are not allowed')
}

function refusedForLength(announcedBytes: number, receivedBytes: number): MirrorError {
  const complaint = `"Content-Length" header, ${announcedBytes}, does not match uploaded size, ${receivedBytes}`
  return new MirrorError('DOWNLOAD_REFUSED', complaint)
}

function refusedAsTooLong(announcedBytes: number | undefined, receivedBytes: number): MirrorError {
  if (announcedBytes !== undefined) return refusedForLength(announcedBytes, receivedBytes)
  const complaint = `image file size exceeds the maximum allowed size, ${MAX_FILE_WORDS}`
  return new MirrorError('UPLOAD_REFUSED', complaint)
}

function noRoom(): MirrorError {
  return new MirrorError('STORE_FULL', 'no room for more of an upload, and nothing more may be let go of')
}
