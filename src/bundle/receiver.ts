import type { Uuid } from '../images/uuid.js'
import type { ByteRange } from './inventory.js'

/** What whoever gets a bundle has already, as far as it is known: an inventory says it, or what was exported before. */
export interface Receiver {
  hasImage(uuid: Uuid, sha256s: readonly string[]): boolean
  hasFile(sha256: string): boolean
  /** What is there of a file that is not whole; ascending, without overlap. */
  partsOf(sha256: string, sizeBytes: number): readonly ByteRange[]
}

/** For a full bundle. */
export const ANYBODY: Receiver = { hasImage: () => false, hasFile: () => false, partsOf: () => [] }

/** Somebody who has these images, with these files, by uuid. */
export function receiverWith(images: ReadonlyMap<Uuid, readonly string[]>): Receiver {
  const files = new Set([...images.values()].flat())
  return {
    hasImage(uuid, sha256s) {
      const known = images.get(uuid)
      return known?.length === sha256s.length && known.every((sha256, index) => sha256 === sha256s[index])
    },
    hasFile: (sha256) => files.has(sha256),
    partsOf: () => [],
  }
}
