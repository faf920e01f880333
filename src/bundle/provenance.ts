import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseUuid } from '../images/uuid.js'
import { isDeeperThan, isJsonObject, type JsonObject } from '../parts/json-object.js'

/** What the mirror that made a bundle knows of where an image came from, as far as our ledger repeats it. */
export interface ImageProvenance {
  readonly claims: readonly { readonly upstream: string; readonly firstSeenMs: number }[]
  readonly entries: readonly { readonly kind: string; readonly seq: number; readonly hash: string }[]
}

/** Longer lines are of no use to us. */
const LINE_LIMIT_BYTES = 256 * 1024
const DEPTH = 12
/** Of one image, so many of each are repeated. */
const MOST_NAMED = 20
const NAME_LENGTH = 256
const NEWLINE = 0x0a
/** After so much, others have their turn. */
const TURN_BYTES = 256 * 1024

const NOTHING: ImageProvenance = { claims: [], entries: [] }

/**
 * Of `provenance.jsonl`, what it says of each of these images. What is not as docs/bundle-format.md has it is left out: it is the other
 * side's word, and proves nothing.
 */
export async function provenanceOf(
  jsonl: Buffer | undefined,
  uuids: ReadonlySet<string>,
): Promise<(uuid: string) => ImageProvenance> {
  const known = new Map<
    string,
    { claims: ImageProvenance['claims'][number][]; entries: ImageProvenance['entries'][number][] }
  >()
  let readBytes = 0
  for (const line of jsonl ? linesOf(jsonl) : []) {
    readBytes += line.length
    if (readBytes > TURN_BYTES) {
      readBytes = 0
      await nextTurn()
    }
    const said = parseLine(line)
    const uuid = said && parseUuid(said.image)
    if (!said || !uuid || !uuids.has(uuid)) continue
    const image = known.get(uuid) ?? { claims: [], entries: [] }
    known.set(uuid, image)
    const claim = claimIn(said)
    if (claim && image.claims.length < MOST_NAMED) image.claims.push(claim)
    const entry = entryIn(said)
    if (entry && image.entries.length < MOST_NAMED) image.entries.push(entry)
  }
  return (uuid) => known.get(uuid) ?? NOTHING
}

function* linesOf(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; ) {
    const found = bytes.indexOf(NEWLINE, start)
    const end = found < 0 ? bytes.length : found
    if (end - start <= LINE_LIMIT_BYTES) yield bytes.subarray(start, end)
    start = end + 1
  }
}

function parseLine(line: Buffer): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'))
    return isJsonObject(value) && !isDeeperThan(value, DEPTH) ? value : undefined
  } catch {
    return undefined
  }
}

function claimIn({ firstSeenMs, kind, upstream }: JsonObject) {
  if (kind !== 'claim' || !isName(upstream) || !isNumber(firstSeenMs)) return undefined
  return { upstream, firstSeenMs }
}

function entryIn({ entry, hash, kind, seq }: JsonObject) {
  if (kind !== 'ledger' || !isNumber(seq) || typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash)) return undefined
  const what = isJsonObject(entry) ? entry.kind : undefined
  return isName(what) ? { kind: what, seq, hash } : undefined
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= NAME_LENGTH
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
