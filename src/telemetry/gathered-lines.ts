/** No more than this waits, in characters. */
const MOST_GATHERED = 64 * 1024

/** As `makeLog` begins a line that tells of nothing unusual. */
const ORDINARY = '{"level":"info"'

/**
 * Lines of a log on their way out. Ordinary ones of one turn of the event loop go together: a write for each costs as much as half of the
 * answer to a small request that it tells of. Whatever is more serious goes at once, with all that waits before it.
 */
export class GatheredLines {
  readonly #write: (text: string) => void
  #gathered = ''

  /** @param write takes whole lines. */
  constructor(write: (text: string) => void) {
    this.#write = write
  }

  add(line: string): void {
    const isFirst = this.#gathered === ''
    this.#gathered += line
    if (!line.startsWith(ORDINARY) || this.#gathered.length > MOST_GATHERED) this.flush()
    else if (isFirst) setImmediate(() => this.flush())
  }

  /** Everything that waits goes out: also for the end of the process, which waits for no turn. */
  flush(): void {
    if (this.#gathered === '') return
    const gathered = this.#gathered
    this.#gathered = ''
    this.#write(gathered)
  }
}
