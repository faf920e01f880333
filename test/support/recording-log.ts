import type { Log } from '../../src/parts/log.js'

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly facts: Record<string, unknown>
  readonly message: string
}

/** Remembers every line, those of its `with` children too, and lets a test wait for one. */
export class RecordingLog implements Log {
  readonly #facts: object
  readonly lines: LogLine[]
  readonly #waiters: Set<() => void>

  constructor(facts: object = {}, lines: LogLine[] = [], waiters = new Set<() => void>()) {
    this.#facts = facts
    this.lines = lines
    this.#waiters = waiters
  }

  debug(facts: object, message: string) {
    this.#add('debug', facts, message)
  }
  info(facts: object, message: string) {
    this.#add('info', facts, message)
  }
  warn(facts: object, message: string) {
    this.#add('warn', facts, message)
  }
  error(facts: object, message: string) {
    this.#add('error', facts, message)
  }
  with(facts: object): Log {
    return new RecordingLog({ ...this.#facts, ...facts }, this.lines, this.#waiters)
  }

  /** The first line, past or future, that passes. */
  async line(passes: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const found = this.lines.find(passes)
      if (found) return found
      await new Promise<void>((resolve) => this.#waiters.add(resolve))
    }
  }

  /** Waits until so many requests are over, and answers their lines. */
  async requests(count: number): Promise<readonly LogLine[]> {
    const requests = () => this.lines.filter(({ message }) => message === 'request')
    await this.line(() => requests().length >= count)
    return requests()
  }

  #add(level: LogLine['level'], facts: object, message: string): void {
    this.lines.push({ level, facts: { ...this.#facts, ...facts }, message })
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const wake of waiters) wake()
  }
}
