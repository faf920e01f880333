import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { MirrorError } from '../../errors.js'
import { sniffCompression } from '../../images/docker/sniff-compression.js'
import type { Compression } from '../../images/manifest.js'

/** The bytes to publish, of which the first have been looked at. */
export interface ImageSource {
  readonly compression: Compression
  /** Whether it is a `zfs send`, as far as its first bytes tell; `undefined` while it is compressed. */
  readonly isZfsStream: boolean | undefined
  /** All of them, once. */
  readonly body: Readable
  /** Of what has been read of `body`. */
  measured(): { readonly sha1: string; readonly sizeBytes: number }
}

/** Where the first record of a `zfs send` has its magic number, and what it is (OpenZFS, zfs_ioctl.h, DMU_BACKUP_MAGIC). */
const ZFS_MAGIC_OFFSET = 8
const ZFS_MAGIC = 0x2_f5ba_cbacn
const HEAD_BYTES = 16

/**
 * Looks at the first bytes of a stream: how it is compressed, and whether it is what it should be.
 *
 * @param name for messages.
 * @throws MirrorError UPLOAD_REFUSED when it is empty, cannot be read (which `body` may fail with, too), or is compressed in a way IMGAPI has no word for.
 */
export async function openImageSource(stream: Readable, name: string): Promise<ImageSource> {
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  const readOn = async () => {
    try {
      return await chunks.next()
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new MirrorError('UPLOAD_REFUSED', `${name} cannot be read: ${reason}`, { cause })
    }
  }
  let head = Buffer.alloc(0)
  while (head.length < HEAD_BYTES) {
    const { done, value } = await readOn()
    if (done) break
    head = Buffer.concat([head, value])
  }
  if (head.length === 0) throw new MirrorError('UPLOAD_REFUSED', `${name} is empty`)
  const compression = sniffCompression(head)
  if (compression === 'zstd') {
    throw new MirrorError(
      'UPLOAD_REFUSED',
      `${name} is compressed with zstd, which IMGAPI does not know: take gzip or xz`,
    )
  }
  const sha1 = createHash('sha1')
  let sizeBytes = 0
  async function* all(): AsyncGenerator<Buffer> {
    try {
      for (let next: IteratorResult<Buffer> = { value: head }; !next.done; next = await readOn()) {
        sha1.update(next.value)
        sizeBytes += next.value.length
        yield next.value
      }
    } finally {
      stream.destroy()
    }
  }
  return {
    compression,
    isZfsStream: compression === 'none' ? isZfsStream(head) : undefined,
    body: Readable.from(all(), { objectMode: false }),
    measured: () => ({ sha1: sha1.copy().digest('hex'), sizeBytes }),
  }
}

function isZfsStream(head: Buffer): boolean {
  if (head.length < HEAD_BYTES) return false
  return head.readBigUInt64LE(ZFS_MAGIC_OFFSET) === ZFS_MAGIC || head.readBigUInt64BE(ZFS_MAGIC_OFFSET) === ZFS_MAGIC
}
