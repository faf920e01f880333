import type { Carrying } from '../mirror/carrying.js'
import { inSlices } from '../parts/in-slices.js'
import { formatInventory } from './format-inventory.js'
import type { Want } from './inventory.js'
import { SALT_BYTES } from './inventory-form.js'

export interface InventoryTerms {
  readonly site: string
  readonly atMs: number
  readonly salt: (sizeBytes: number) => Uint8Array
  readonly wants: readonly Want[]
}

/** What is held here, for whoever packs a bundle for us: signed, and short enough to be printed. */
export async function siteInventory(mirror: Carrying, { atMs, salt, site, wants }: InventoryTerms): Promise<string> {
  const { catalogue, images, store } = mirror
  const held = []
  const ofImages = new Set<string>()
  for (const { files, manifest } of store.images.all()) {
    const known = catalogue.find(manifest.uuid)
    // Whoever lacks what it builds on must be sent that.
    if (!known || catalogue.lacks(known, (each) => images.isHeld(each), mirror.maxAncestry).length > 0) continue
    const sha256s = files.map(({ sha256 }) => sha256)
    held.push({ uuid: manifest.uuid, sha256s })
    for (const sha256 of sha256s) ofImages.add(sha256)
  }
  const others: string[] = []
  for await (const { sha256 } of inSlices(store.blobs.all())) if (!ofImages.has(sha256)) others.push(sha256)
  const parts = [...store.blobs.suspended()].flatMap(({ expected: { digests, sizeBytes }, extents }) => {
    const sha256 = digests.find(({ algorithm }) => algorithm === 'sha256')?.hex
    return sha256 === undefined ? [] : [{ sha256, sizeBytes, ranges: extents }]
  })
  const signer = await store.signer()
  return formatInventory(
    { ...{ site, atMs, wants, parts }, key: signer.key, salt: salt(SALT_BYTES), images: held, files: others },
    (text, comment) => signer.sign(text, comment),
  )
}
