/** Lets callers who want the same thing at the same time share one piece of work. */
export class SingleFlight<Key, Value> {
  readonly #underWay = new Map<Key, Promise<Value>>()

  /** Joins the work under way for `key`, or starts `work`. All who joined get its result, or its failure. */
  do(key: Key, work: () => Promise<Value>): Promise<Value> {
    const joined = this.#underWay.get(key)
    if (joined) return joined
    const started = work().finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, started)
    return started
  }
}
