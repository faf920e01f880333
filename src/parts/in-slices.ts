import { setImmediate as nextTurn } from 'node:timers/promises'

/** About a millisecond of light work. */
const SLICE_LENGTH = 1000

/** The same values, with a turn for others after every thousand: to go through a million without anybody noticing. */
export async function* inSlices<Value>(values: Iterable<Value>): AsyncGenerator<Value> {
  let count = 0
  for (const value of values) {
    if (++count % SLICE_LENGTH === 0) await nextTurn()
    yield value
  }
}
