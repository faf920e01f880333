import type { OpenedFile } from './file-system.js'
import { readFully } from './whole-files.js'

const BLOCK_BYTES = 1024 * 1024
const NEWLINE = 0x0a

/** A line that ended with a newline; `undefined` instead of its bytes when it was longer than the limit. */
export interface Line {
  /** Valid until the next line is asked for. */
  readonly bytes: Buffer | undefined
  /** Where the line after it starts. */
  readonly endBytes: number
}

/** The lines of a file, a block at a time. What stands behind the last newline is not among them. */
export async function* readLines(file: OpenedFile, limitBytes: number): AsyncGenerator<Line> {
  const block = Buffer.alloc(BLOCK_BYTES)
  let begun: Buffer[] = []
  let begunBytes = 0
  for (let positionBytes = 0; ; ) {
    const readBytes = await readFully(file, block, positionBytes)
    let start = 0
    for (let end = find(block, start, readBytes); end >= 0; end = find(block, start, readBytes)) {
      const rest = block.subarray(start, end)
      const lengthBytes = begunBytes + rest.length
      const bytes = begun.length === 0 ? rest : Buffer.concat([...begun, rest])
      start = end + 1
      yield { bytes: lengthBytes > limitBytes ? undefined : bytes, endBytes: positionBytes + start }
      begun = []
      begunBytes = 0
    }
    begunBytes += readBytes - start
    // Of a line that is too long already, only its end is of interest.
    if (begunBytes <= limitBytes) begun.push(Buffer.from(block.subarray(start, readBytes)))
    else begun = []
    positionBytes += readBytes
    if (readBytes < BLOCK_BYTES) return
  }
}

function find(block: Buffer, start: number, end: number): number {
  const found = block.indexOf(NEWLINE, start)
  return found < end ? found : -1
}
