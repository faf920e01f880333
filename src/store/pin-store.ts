import type { Uuid } from '../images/uuid.js'

/** That an image never leaves to make room, because an operator said so while we ran. */
export interface Pin {
  readonly uuid: Uuid
  /** Who said so. */
  readonly by: string
  readonly reason: string | undefined
  /** Ms since 1970. */
  readonly sinceMs: number
}

/** The pins that operators set, besides those of the configuration. At most one for each image. */
export interface PinStore {
  /** What was saved last; none when there is nothing. A damaged file is set aside and told of in the log. */
  load(): Promise<readonly Pin[]>
  /** Replaces all. Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  save(pins: readonly Pin[]): Promise<void>
}
