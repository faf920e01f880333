import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import type { Pin, PinStore } from './pin-store.js'
import { SealedList } from './sealed-list.js'

/** Pins in `pins.json`. */
export class PinFile extends SealedList<Pin> implements PinStore {
  constructor(places: Places & { log: Log }) {
    super(places, {
      fileName: 'pins.json',
      key: 'pins',
      what: 'the pins',
      // About 200 bytes a pin: enough for 300,000 of them.
      limitBytes: 64 * 1024 * 1024,
      loss: { level: 'error', message: 'the pins that operators had set are damaged and lost' },
    })
  }
}
