import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { sha256 } from '../../support/made-up-images.js'

export const MIB = 1024 * 1024

export function blobPath(dataDirectory: string, bytes: Buffer): string {
  const hex = sha256(bytes)
  return join(dataDirectory, 'blobs', 'sha256', hex.slice(0, 2), hex)
}

/** Flips one bit of a file, in place, as a disk does. */
export async function flipBit(path: string, positionBytes: number): Promise<void> {
  const file = await fs.open(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, positionBytes)
    byte[0]! ^= 1
    await file.write(byte, 0, 1, positionBytes)
  } finally {
    await file.close()
  }
}

/** What `/status` says, as far as these tests look at it. */
export async function operatorStatus({ operatorUrl }: { operatorUrl: string }) {
  return (await (await fetch(`${operatorUrl}/status`)).json()) as {
    imagesHeld: number
    keeping: {
      room: Record<'quotaBytes' | 'usedBytes' | 'pinnedBytes' | 'evictableBytes' | 'evictedBytes', number>
      scrub: { oldestCheckAt: string; auditedAt: string | null; blobsRead: number; damageFound: number } | null
      lost: { uuid: string; fileIndex: number; sha256: string }[]
    }
  }
}
