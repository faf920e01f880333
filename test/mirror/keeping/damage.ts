import * as fs from 'node:fs/promises'
import { connect } from 'node:net'
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

/** What a client got that believes nothing but the length. */
export interface Download {
  readonly status: number
  readonly body: Buffer
  readonly isComplete: boolean
}

export async function download(url: string, uuid: string, headers = ''): Promise<Download> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.write(`GET /images/${uuid}/file HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n${headers}\r\n`)
  const pieces: Buffer[] = []
  await new Promise<void>((resolve) => {
    socket.on('data', (piece) => pieces.push(piece))
    socket.on('error', () => resolve())
    socket.on('close', () => resolve())
  })
  const all = Buffer.concat(pieces)
  const end = all.indexOf('\r\n\r\n')
  const head = all.subarray(0, Math.max(0, end)).toString()
  const body = end < 0 ? Buffer.alloc(0) : all.subarray(end + 4)
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0)
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? -1)
  return { status, body, isComplete: body.length === length }
}
