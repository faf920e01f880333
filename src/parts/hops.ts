import { AsyncLocalStorage } from 'node:async_hooks'

const storage = new AsyncLocalStorage<readonly string[]>()

/** The mirrors that the request being answered has come through, first one first; none for work that nobody asked for. */
export function currentHops(): readonly string[] {
  return storage.getStore() ?? []
}

/** Everything that `work` begins, however late it runs, counts as asked for through these mirrors. */
export function throughHops<Value>(hops: readonly string[], work: () => Value): Value {
  return storage.run(hops, work)
}
