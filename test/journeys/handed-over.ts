import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256 } from '../support/made-up-images.js'

/** What an inventory is exact to, and what volumes of these sizes are verified by. */
const MIB = 1024 * 1024
const BLOCK_BYTES = 4096

interface File {
  readonly bytes: Buffer
  /** Of each block, whether it has ever been carried over as it should be. */
  readonly isHere: boolean[]
}

/**
 * What has been carried to a closed site, found out the long way: every byte on every medium, beside what it should be. Knows of the form of
 * bundles only how pieces are called.
 */
export class HandedOver {
  readonly #files = new Map<string, File>()

  /** A file that may come. */
  know(bytes: Buffer): string {
    const name = sha256(bytes)
    if (!this.#files.has(name)) {
      this.#files.set(name, { bytes, isHere: new Array<boolean>(Math.ceil(bytes.length / BLOCK_BYTES)).fill(false) })
    }
    return name
  }

  /** This volume, as it is now, was put in. */
  async take(volume: string): Promise<void> {
    for (const { bytes, name, startBytes } of await piecesOf(volume)) {
      const file = this.#files.get(name)
      if (!file) throw new Error(`${volume} has ${name}, of which nobody knows`)
      for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
        const right = file.bytes.subarray(startBytes + at, Math.min(startBytes + at + BLOCK_BYTES, file.bytes.length))
        if (bytes.subarray(at, at + BLOCK_BYTES).equals(right)) file.isHere[(startBytes + at) / BLOCK_BYTES] = true
      }
    }
  }

  isWhole(name: string): boolean {
    return this.#files.get(name)!.isHere.every((isHere) => isHere)
  }

  /** How many bytes are to be carried still, in those MiB of files of which anything is lacking. */
  get lackingBytes(): number {
    let sum = 0
    for (const { bytes, isHere } of this.#files.values()) {
      for (let at = 0; at < bytes.length; at += MIB) {
        const blocks = isHere.slice(at / BLOCK_BYTES, (at + MIB) / BLOCK_BYTES)
        if (!blocks.every((each) => each)) sum += Math.min(MIB, bytes.length - at)
      }
    }
    return sum
  }
}

/** Bytes of images on these volumes. */
export async function carriedBytes(volumes: readonly string[]): Promise<number> {
  const pieces = (await Promise.all(volumes.map(piecesOf))).flat()
  return pieces.reduce((sum, { bytes }) => sum + bytes.length, 0)
}

/** Paths of the pieces of a volume, the largest first. */
export async function largestPieces(volume: string): Promise<string[]> {
  const pieces = await piecesOf(volume)
  return pieces.sort((one, other) => other.bytes.length - one.bytes.length).map(({ path }) => path)
}

async function piecesOf(volume: string) {
  const directory = join(volume, 'files')
  const names = await readdir(directory).catch(() => [])
  return await Promise.all(
    names.map(async (file) => {
      const [name = '', range = '0'] = file.split('.')
      const path = join(directory, file)
      return { path, name, startBytes: Number.parseInt(range, 10), bytes: await readFile(path) }
    }),
  )
}
