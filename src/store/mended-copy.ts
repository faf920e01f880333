import { MirrorError } from '../errors.js'
import { CHUNK_BYTES } from './blob-store.js'
import type { FileSystem, OpenedFile } from './file-system.js'
import { readFully, writeFully } from './whole-files.js'

export interface MendedCopyOptions {
  readonly path: string
  readonly to: string
  /** Of the copy; the damaged file may be longer or shorter. */
  readonly sizeBytes: number
  /** By index; each as long as the chunk it is for. */
  readonly goodChunks: ReadonlyMap<number, Uint8Array>
  readonly fileSystem: FileSystem
}

/** Copies a file with some of its chunks replaced; those are not read, and may be unreadable. Synced when it resolves. */
export async function copyMended({ path, to, sizeBytes, goodChunks, fileSystem }: MendedCopyOptions): Promise<void> {
  const source = await fileSystem.open(path, 'read')
  try {
    const copy = await fileSystem.open(to, 'create')
    try {
      const buffer = Buffer.alloc(CHUNK_BYTES)
      for (let index = 0; index * CHUNK_BYTES < sizeBytes; index++) {
        const startBytes = index * CHUNK_BYTES
        const chunk = buffer.subarray(0, Math.min(CHUNK_BYTES, sizeBytes - startBytes))
        await writeFully(
          copy,
          goodChunk(goodChunks, index, chunk.length) ?? (await read(source, chunk, startBytes)),
          startBytes,
        )
      }
      await copy.sync()
    } finally {
      await copy.close()
    }
  } finally {
    await source.close()
  }
}

function goodChunk(
  chunks: ReadonlyMap<number, Uint8Array>,
  index: number,
  lengthBytes: number,
): Uint8Array | undefined {
  const chunk = chunks.get(index)
  if (!chunk || chunk.length === lengthBytes) return chunk
  throw new MirrorError(
    'STORE_BROKEN',
    `chunk ${index} has ${lengthBytes} bytes, and ${chunk.length} were given for it`,
  )
}

async function read(source: OpenedFile, chunk: Uint8Array, positionBytes: number): Promise<Uint8Array> {
  if ((await readFully(source, chunk, positionBytes)) === chunk.length) return chunk
  throw new MirrorError('STORE_BROKEN', `the damaged file ends within chunk ${positionBytes / CHUNK_BYTES}`)
}
