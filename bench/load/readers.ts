import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const script = fileURLToPath(new URL('./readers.mjs', import.meta.url))
const run = promisify(execFile)

/** What readers were left with. */
export interface Reads {
  /** From the first request to the last byte of all. */
  readonly seconds: number
  /** Of bodies, all together. */
  readonly bytes: number
  readonly complete: number
  /** Refused, or cut. */
  readonly failed: number
  /** Delivered as complete, with wrong bytes or another number of them; looked for only where the right ones are given. */
  readonly corrupt: number
  /** From connecting to the first byte of the body, of each reading. */
  readonly firstByteSeconds: readonly number[]
  readonly readSeconds: readonly number[]
}

export interface ReadOptions {
  readonly count?: number
  readonly rounds?: number
  readonly file?: string
  readonly checkers?: number
  readonly parts?: { readonly lengthBytes: number; readonly strideBytes: number }
}

/**
 * Clients in a process of their own, so that what they cost is not ours.
 * @param rounds how often each reads the whole, on a new connection each time.
 * @param file what it must be, byte by byte; comparing costs the clients time.
 * @param checkers how many clients compare; the others look at the length alone. Without it, all.
 * @param parts of the file: each client reads one, so many bytes behind the one of the client before.
 */
export async function readAll(
  url: string,
  { count = 1, rounds = 1, file = '', checkers = count, parts }: ReadOptions = {},
): Promise<Reads> {
  const compared = file === '' ? [] : [file, ...(parts ? [String(parts.lengthBytes), String(parts.strideBytes)] : [])]
  const args = [script, url, String(count), String(rounds), String(checkers), ...compared]
  const { stdout } = await run(process.execPath, args, { maxBuffer: 2 ** 26 })
  return JSON.parse(stdout) as Reads
}
