import type { Readable } from 'node:stream'
import type { Config } from '../config.js'
import type { LedgerReader } from '../mirror/operations/auditing.js'
import type { ReloadAnswer } from '../mirror/operations/reload-answer.js'
import type { RestingImages } from '../mirror/operations/resting-images.js'
import type { Log } from '../parts/log.js'

export interface AssembleOptions {
  readonly config: Config
  readonly log: Log
  /** Where proxies are looked up. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly version: string
  /** Of this process. */
  readonly pid?: number | undefined
  /** Reads the configuration as it is now; without it, it cannot be read again. @throws MirrorError CONFIG_INVALID. */
  readonly readConfig?: (() => Promise<Config>) | undefined
  readonly setLogLevel?: ((level: Config['log']['level']) => void) | undefined
  /** The data directory is somebody else's now: the process has to end at once, and write no more. */
  readonly onLost?: ((reason: Error) => void) | undefined
}

/** The mirror, started. */
export interface Running {
  /** Where clients reach us, as urls. */
  readonly listeners: readonly string[]
  /** Where operators do. */
  readonly operators: readonly string[]
  /**
   * Reads the configuration again, and goes by it from now on.
   * @param by whoever wants that, for the log, which is told what comes of it.
   * @throws MirrorError CONFIG_REFUSED, and the old one stays in effect; CLOSING.
   */
  reload(by: string): Promise<ReloadAnswer>
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

/** A data directory, and the configuration of the mirror that it is of, where that is known. */
export interface DataPlace {
  readonly directory: string
  readonly config: Config | undefined
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
  readonly writeFile?: (path: string, text: string) => Promise<void>
  /** Opens a file, or standard input. The caller reads the stream out, or destroys it. */
  readonly openInput: (path: string | undefined) => Promise<Input>
  /** Aborts when we are asked to stop; the reason is the name of the signal. */
  readonly stop: AbortSignal
  /** From now on, SIGHUP means to read the configuration again, and ends nothing. */
  readonly onHangUp?: (listener: () => void) => void
  readonly makeLog: (options: Config['log']) => Log & { setLevel?(level: Config['log']['level']): void }
  /** Reads the ledger in a data directory, whoever else uses it. */
  readonly openLedger?: (directory: string) => LedgerReader
  /** Reads what is held in a data directory, whoever else uses it. The caller closes it. */
  readonly openData?: (place: DataPlace) => Promise<RestingImages>
  readonly assemble: (options: AssembleOptions) => Promise<Running>
}
