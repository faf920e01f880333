import { MirrorError } from '../errors.js'
import type { Uuid } from '../images/uuid.js'
import type { Carrying } from '../mirror/carrying.js'
import { declaredFiles } from '../mirror/ledger.js'
import { parseHead } from '../parts/ledger-head.js'
import type { LedgerEntry } from '../store/ledger-store.js'

/** What the ledger says of how an image came. What became of it since (served, scrubbed, exported) is not the receiver's. */
const KINDS: ReadonlySet<string> = new Set([
  'claimed',
  'conflicted',
  'pulled',
  'verified',
  'held',
  'found',
  'published',
  'recompressed',
  'derived',
  'repaired',
  'imported',
])
/** Of an image with more entries than that, the newest. */
const MOST_ENTRIES = 16
/** So much is written, and held in memory for it. */
const LIMIT_BYTES = 64 * 1024 * 1024

/**
 * `provenance.jsonl`: what is known here of where these images came from. It changes only when something new is known of them: the
 * head is the first that vouches for all entries in it, and not the newest.
 *
 * @throws MirrorError QUERY_INVALID when that is more than can be carried; STORE_BROKEN, STORE_FULL; the signal's reason.
 */
export async function gatherProvenance(
  { catalogue, ledger }: Pick<Carrying, 'catalogue' | 'ledger'>,
  uuids: readonly Uuid[],
  signal: AbortSignal,
): Promise<Buffer> {
  const lines = new Lines()
  for (const uuid of uuids) {
    for (const claim of catalogue.claimsOf(uuid)) {
      const { firstHeardMs, manifest, upstream } = claim
      lines.add({ image: uuid, kind: 'claim', upstream, firstSeenMs: firstHeardMs, files: declaredFiles(manifest) })
    }
  }
  const { store } = ledger
  await store.flush()
  const entries = await entriesOf(store.entries(signal), new Set(uuids))
  const last = Math.max(0, ...entries.map(({ entry }) => entry.seq))
  const { hashes } = await store.check({ hashesOf: entries.map(({ entry }) => entry.seq), signal })
  for (const { entry, image } of entries) {
    const { atMs, facts, kind, seq } = entry
    const told = { seq, at: new Date(atMs).toISOString(), kind, image: entry.image ?? null, facts }
    lines.add({ image, kind: 'ledger', seq, hash: hashes.get(seq) ?? null, entry: told })
  }
  lines.add({ kind: 'head', ...((await firstHeadBehind(last, store.entries(signal))) ?? (await signNow(ledger))) })
  return lines.bytes()
}

/** The newest entries about each of these images; in the order of images, and of entries. */
async function entriesOf(batches: AsyncIterable<readonly LedgerEntry[]>, uuids: ReadonlySet<string>) {
  const byImage = new Map<string, LedgerEntry[]>([...uuids].map((uuid) => [uuid, []]))
  for await (const batch of batches) {
    for (const entry of batch) {
      if (!KINDS.has(entry.kind)) continue
      for (const uuid of imagesOf(entry)) {
        const known = byImage.get(uuid)
        known?.push(entry)
        if (known && known.length > MOST_ENTRIES) known.shift()
      }
    }
  }
  return [...byImage].flatMap(([image, entries]) => entries.map((entry) => ({ image, entry })))
}

/** One about a file names the images that it is of. */
function imagesOf({ facts: { images }, image }: LedgerEntry): readonly string[] {
  if (image !== undefined) return [image]
  return Array.isArray(images) ? images.filter((each) => typeof each === 'string') : []
}

async function firstHeadBehind(seq: number, batches: AsyncIterable<readonly LedgerEntry[]>) {
  for await (const batch of batches) {
    for (const { facts, kind } of batch) {
      const { signature, text } = facts
      if (kind !== 'head' || typeof text !== 'string' || typeof signature !== 'string') continue
      if ((parseHead(text)?.entries ?? 0) >= seq) return { text, signature }
    }
  }
  return undefined
}

async function signNow(ledger: Carrying['ledger']) {
  const { signature, text } = await ledger.sign()
  return { text, signature }
}

class Lines {
  readonly #lines: Buffer[] = []
  #sizeBytes = 0

  add(value: object): void {
    const line = Buffer.from(`${JSON.stringify(value)}\n`)
    this.#sizeBytes += line.length
    if (this.#sizeBytes > LIMIT_BYTES) {
      throw new MirrorError(
        'QUERY_INVALID',
        `what is known of where these images came from is more than the ${LIMIT_BYTES} bytes that a bundle may have; select fewer at once`,
      )
    }
    this.#lines.push(line)
  }

  bytes(): Buffer {
    return Buffer.concat(this.#lines)
  }
}
