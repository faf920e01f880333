import type { Readable } from 'node:stream'
import type { Config } from '../config.js'
import type { LedgerReader } from '../mirror/operations/auditing.js'
import type { Log } from '../parts/log.js'

/** The mirror, started. */
export interface Running {
  /** Where clients reach us, as urls. */
  readonly listeners: readonly string[]
  /** Where operators do. */
  readonly operators: readonly string[]
  /** Takes nothing new, lets what is under way finish within its limits, and keeps everything that is to be kept. */
  close(): Promise<void>
}

/** What a command reads, when it is more than fits into memory. */
export interface Input {
  readonly stream: Readable
  /** `undefined` for what is a pipe. */
  readonly sizeBytes: number | undefined
}

/** Standard output, when somebody looks at it. */
export interface Terminal {
  /** How wide it is now, in characters. */
  readonly columns: () => number
}

/** What a command needs of the world outside. `main.ts` takes it from the process, a test makes its own. */
export interface Surroundings {
  readonly version: string
  readonly pid?: number | undefined
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Standard output, and standard error. */
  readonly write: (text: string) => void
  readonly complain: (text: string) => void
  /** `undefined` when standard output goes to a file or another program. */
  readonly terminal?: Terminal | undefined
  readonly readFile: (path: string) => Promise<string>
  /** Opens a file, or standard input. The caller reads the stream out, or destroys it. */
  readonly openInput: (path: string | undefined) => Promise<Input>
  /** Aborts when we are asked to stop; the reason is the name of the signal. */
  readonly stop: AbortSignal
  readonly makeLog: (options: Config['log']) => Log
  /** Reads the ledger in a data directory, whoever else uses it. */
  readonly openLedger?: (directory: string) => LedgerReader
  readonly assemble: (options: {
    config: Config
    log: Log
    environment: Readonly<Record<string, string | undefined>>
    version: string
    pid?: number | undefined
  }) => Promise<Running>
}
