import { MirrorError } from '../errors.js'

/** An upstream could not be had, and had no part in it: we did not ask, because of a limit of our own or of its wish. */
export class NotAsked extends MirrorError {
  constructor(message: string, options: { retryAfterMs?: number | undefined; isOverLimit?: boolean } = {}) {
    super('UPSTREAM_UNREACHABLE', message, options)
  }
}
