import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** A request id a client may give itself: printable ASCII without blanks, so that it can stand in a header and a log. */
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/

/** imgadm sends `x-request-id`, sdc-clients `request-id` as well; restify looks at both, in this order. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  for (const given of [headers['request-id'], headers['x-request-id']]) {
    if (typeof given === 'string' && REQUEST_ID.test(given)) return given
  }
  return randomUUID()
}
