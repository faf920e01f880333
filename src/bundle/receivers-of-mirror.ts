import type { Uuid } from '../images/uuid.js'
import type { Carrying } from '../mirror/carrying.js'
import type { Inventory } from './inventory.js'
import { type Receiver, receiverWith } from './receiver.js'

type Held = Pick<Carrying, 'store'>

/** Whoever has sent this inventory. It says of images only that they are there: of those that we know we know the files, too. */
export function receiverBy(inventory: Inventory, { store }: Held): Receiver {
  const files = new Set<string>()
  for (const { uuid, sha256s } of heldImages({ store })) {
    if (inventory.hasImage(uuid, sha256s)) for (const sha256 of sha256s) files.add(sha256)
  }
  return {
    hasImage: (uuid, sha256s) => inventory.hasImage(uuid, sha256s),
    hasFile: (sha256) => files.has(sha256) || inventory.hasFile(sha256),
    partsOf: (sha256, sizeBytes) => inventory.partsOf(sha256, sizeBytes),
  }
}

/** Whoever has got everything that was held here before that time. */
export function receiverSince(sinceMs: number, mirror: Held): Receiver {
  const images = new Map<Uuid, readonly string[]>()
  for (const { heldSinceMs, sha256s, uuid } of heldImages(mirror)) if (heldSinceMs < sinceMs) images.set(uuid, sha256s)
  return receiverWith(images)
}

function* heldImages({ store }: Held): Generator<{ uuid: Uuid; sha256s: readonly string[]; heldSinceMs: number }> {
  for (const { files, heldSinceMs, manifest } of store.images.all()) {
    yield { uuid: manifest.uuid, sha256s: files.map(({ sha256 }) => sha256), heldSinceMs }
  }
}
