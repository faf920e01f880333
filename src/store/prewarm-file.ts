import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import type { PrewarmRecord, PrewarmStore } from './prewarm-store.js'
import { SealedList } from './sealed-list.js'

/** In `prewarm.json`. */
export class PrewarmFile extends SealedList<PrewarmRecord> implements PrewarmStore {
  constructor(places: Places & { log: Log }) {
    super(places, {
      fileName: 'prewarm.json',
      key: 'policies',
      what: 'what prewarming has spent',
      // About 250 bytes for each policy of the configuration.
      limitBytes: 8 * 1024 * 1024,
      loss: { level: 'warn', message: 'it is not known what prewarming has spent: the budgets begin anew' },
    })
  }
}
