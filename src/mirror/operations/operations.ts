import type { Jobs } from '../jobs.js'

/** What operators may have done, beyond looking at how things are. Answers are plain JSON: ms since 1970, uuids, null for absent. */
export interface Operations {
  readonly jobs: Jobs
}

/** Who asks for something to be done. */
export interface Operator {
  /** For the log, the audit and pins. */
  readonly name: string
  /** On this machine, by loopback or a unix socket: only such may name paths on its disks. */
  readonly isLocal: boolean
}
