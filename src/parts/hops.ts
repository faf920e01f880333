import { AsyncLocalStorage } from 'node:async_hooks'

/** As mirrors name themselves in Via (RFC 9110, 7.6.3); whoever else stands there is no concern of ours. */
const MIRROR = /\bimgapi-mirror-[0-9a-f]{16}\b/g

/** The mirrors that a Via header names, first one first. */
export function hopsIn(via: string | undefined): readonly string[] {
  return via?.match(MIRROR) ?? []
}

const storage = new AsyncLocalStorage<readonly string[]>()

/** The mirrors that the request being answered has come through, first one first; none for work that nobody asked for. */
export function currentHops(): readonly string[] {
  return storage.getStore() ?? []
}

/** Everything that `work` begins, however late it runs, counts as asked for through these mirrors. */
export function throughHops<Value>(hops: readonly string[], work: () => Value): Value {
  return storage.run(hops, work)
}
