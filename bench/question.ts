import type { Reference } from './servers/reference.js'

/** One file of questions/ answers one. */
export interface Question {
  /** What is asked, in one line. */
  readonly question: string
  /** What we want to read, in one line. */
  readonly wish: string
  run(bench: Bench): Promise<Result>
}

export interface Result {
  readonly tables: readonly Table[]
  /** How measured figures stand to what was wished. They are reported, and fail nothing. */
  readonly verdicts: readonly Verdict[]
  /** What must be right on any machine, however loaded. One that is wrong fails the run. */
  readonly checks: readonly Check[]
  /** How it was measured, what is the limit, who was not at hand. Whole sentences. */
  readonly notes?: readonly string[]
}

export interface Table {
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export interface Verdict {
  readonly wish: string
  readonly found: string
  readonly isMet: boolean
}

export interface Check {
  readonly what: string
  readonly isRight: boolean
}

/** What a question is given to work with. */
export interface Bench {
  /** Small sizes and few rounds: to see that it works, not how fast. */
  readonly isQuick: boolean
  /** How often each contestant is measured. */
  readonly rounds: number
  /** Empty, on a disk, and removed when the question is answered. */
  readonly directory: string
  readonly reference: Reference
  /** One line about how it goes. */
  say(line: string): void
  /** Closes it when the question is answered, last opened first, also when it fails. Gives it back. */
  use<Closed extends { close(): Promise<void> }>(opened: Closed): Closed
}
