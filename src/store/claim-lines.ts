import { readChannels } from '../images/channel-names.js'
import type { Claim } from '../images/claim.js'
import type { Manifest } from '../images/manifest.js'
import { fromStored, toStored } from '../images/stored-manifest.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { isSealed, sealJson } from './sealed-json.js'

/** What one line of a claim file says. */
export type ClaimLine =
  | { readonly kind: 'claim'; readonly claim: Claim }
  | { readonly kind: 'withdrawn'; readonly uuids: readonly Uuid[]; readonly heardMs: number }
  | { readonly kind: 'listing'; readonly heardMs: number; readonly validator: string | undefined }

/** The members of a claim's line that stand before its manifest. Short names: there are 100,000 of these. */
interface Head {
  readonly listed: boolean
  readonly first: number
  readonly last: number
  readonly withdrawn?: number
  readonly whereabouts: readonly (string | null)[]
  readonly digests?: readonly (readonly string[])[]
  /** Of servers with channels; earlier releases did not write them. */
  readonly channels?: readonly string[]
  /** What a file that needs recompression unpacks to. */
  readonly unpacked?: string
  /** The same of a file that is not known to need it. */
  readonly wouldUnpack?: string
}

const MANIFEST_KEY = ',"manifest":'
const SEAL_KEY = ',"crc32":'

/** A line without its newline; its text is JSON, sealed with its CRC. */
export function writeClaimLine(line: ClaimLine): string {
  if (line.kind !== 'claim') {
    const { kind, ...rest } = line
    return sealJson(JSON.stringify({ [kind]: rest }))
  }
  const {
    manifest,
    isListed,
    firstHeardMs,
    lastHeardMs,
    withdrawnMs,
    whereabouts,
    channels,
    needsRecompression,
    unpackedSha256,
  } = line.claim
  const { json, digests } = toStored(manifest)
  const head: Head = {
    listed: isListed,
    first: firstHeardMs,
    last: lastHeardMs,
    ...(withdrawnMs !== undefined && { withdrawn: withdrawnMs }),
    whereabouts: whereabouts.map((text) => text ?? null),
    ...(digests && { digests }),
    ...(channels && { channels }),
    ...(unpackedSha256 !== undefined && { [needsRecompression ? 'unpacked' : 'wouldUnpack']: unpackedSha256 }),
  }
  return sealJson(`{"claim":${JSON.stringify(head)}${MANIFEST_KEY}${json}}`)
}

/**
 * Reads lines back. Upstreams often claim the same manifest: then their claims share one, and it is parsed once.
 * Throw it away after loading: it knows every manifest it has met.
 */
export class ClaimLineReader {
  readonly #manifests = new Map<string, Manifest>()

  /** Answers `undefined` for a line that is not as `writeClaimLine` made it. */
  read(line: Buffer, upstream: string): ClaimLine | undefined {
    if (!isSealed(line)) return undefined
    try {
      return this.#readClaim(line, upstream) ?? readOther(line)
    } catch {
      // Sealed by us, and yet not readable: written by another release, or a forger. Either way it says nothing to us.
      return undefined
    }
  }

  /**
   * The manifest's text is cut out of the line as it stands, and so parsed only once. In JSON text a quote inside a string
   * is escaped: the first `,"manifest":` is the key.
   */
  #readClaim(line: Buffer, upstream: string): ClaimLine | undefined {
    const headEnd = line.indexOf(MANIFEST_KEY)
    if (headEnd < 0 || !line.toString('latin1', 0, 9).startsWith('{"claim":')) return undefined
    const head = JSON.parse(line.toString('utf8', 9, headEnd)) as Head
    const json = line.toString('utf8', headEnd + MANIFEST_KEY.length, line.lastIndexOf(SEAL_KEY))
    const channels = readChannels(head.channels)
    const claim = {
      upstream,
      manifest: this.#manifestOf(json, head.digests),
      whereabouts: head.whereabouts.map((text) => text ?? undefined),
      isListed: head.listed,
      firstHeardMs: head.first,
      lastHeardMs: head.last,
      withdrawnMs: head.withdrawn,
      ...(channels && { channels }),
      ...(head.wouldUnpack !== undefined && { unpackedSha256: head.wouldUnpack }),
      ...(head.unpacked !== undefined && { needsRecompression: true, unpackedSha256: head.unpacked }),
    }
    return { kind: 'claim', claim }
  }

  #manifestOf(json: string, digests: Head['digests']): Manifest {
    const key = digests ? `${json}${JSON.stringify(digests)}` : json
    const known = this.#manifests.get(key)
    if (known) return known
    const manifest = fromStored({ json, digests })
    this.#manifests.set(digests ? key : manifest.json, manifest)
    return manifest
  }
}

function readOther(line: Buffer): ClaimLine | undefined {
  const { withdrawn, listing } = JSON.parse(line.toString('utf8')) as {
    withdrawn?: { uuids: unknown[]; heardMs: number }
    listing?: { heardMs: number; validator?: string }
  }
  if (withdrawn) {
    const uuids = withdrawn.uuids.flatMap((uuid) => parseUuid(uuid) ?? [])
    return { kind: 'withdrawn', uuids, heardMs: withdrawn.heardMs }
  }
  if (listing) return { kind: 'listing', heardMs: listing.heardMs, validator: listing.validator }
  return undefined
}
