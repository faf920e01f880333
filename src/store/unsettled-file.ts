import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import { SealedList } from './sealed-list.js'
import type { UnsettledStore } from './unsettled-store.js'

/** In `unsettled.json`: few are unsettled at a time. */
export class UnsettledFile extends SealedList<string> implements UnsettledStore {
  constructor(places: Places & { log: Log }) {
    super(places, {
      fileName: 'unsettled.json',
      key: 'sha256s',
      what: 'which files are being published or deleted',
      // 67 bytes each: so many do not come together while a disk is well.
      limitBytes: 8 * 1024 * 1024,
      loss: { level: 'warn', message: 'it is not known which files publishing left behind: they stay' },
    })
  }
}
