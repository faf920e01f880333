/** Runs what it is given one after the other, in the order of asking. The queue is as long as there are callers waiting. */
export class OneAtATime {
  #last: Promise<unknown> = Promise.resolve()

  /** Answers what `work` answers; its failure is its caller's alone and does not stop those behind it. */
  run<Value>(work: () => Promise<Value>): Promise<Value> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return turn
  }

  /** Resolves when all that was asked for so far has ended, well or badly. */
  async idle(): Promise<void> {
    await this.#last
  }
}
