import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import type { ExportRecord, ExportStore } from './export-store.js'
import { SealedList } from './sealed-list.js'

/** In `exports.json`. */
export class ExportFile extends SealedList<ExportRecord> implements ExportStore {
  constructor(places: Places & { log: Log }) {
    super(places, {
      fileName: 'exports.json',
      key: 'exports',
      what: 'which bundles were made here',
      // About 110 bytes an image. Whoever keeps records sees to it that they stay far below.
      limitBytes: 128 * 1024 * 1024,
      loss: {
        level: 'error',
        message: 'it is not known any more which bundles were made here: series begin with 1 again',
      },
    })
  }
}
