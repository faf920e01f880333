/** Strongest first: the first that is declared decides whether a file is the promised one. */
export const DIGEST_ALGORITHMS = ['sha256', 'sha1', 'md5'] as const
export type DigestAlgorithm = (typeof DIGEST_ALGORITHMS)[number]

/** A hash of bytes: algorithm and lower-case hex together. */
export interface Digest {
  readonly algorithm: DigestAlgorithm
  readonly hex: string
}

const HEX_LENGTH: Record<DigestAlgorithm, number> = { sha256: 64, sha1: 40, md5: 32 }

/** Answers `undefined` unless `hex` has the form of that algorithm's digest. Upper case is folded. */
export function parseDigest(algorithm: DigestAlgorithm, hex: unknown): Digest | undefined {
  if (typeof hex !== 'string' || hex.length !== HEX_LENGTH[algorithm] || !/^[0-9a-f]+$/i.test(hex)) return undefined
  return { algorithm, hex: hex.toLowerCase() }
}

/** The one that decides, or `undefined` when nothing was declared. */
export function strongestDigest(digests: readonly Digest[]): Digest | undefined {
  for (const algorithm of DIGEST_ALGORITHMS) {
    const found = digests.find((digest) => digest.algorithm === algorithm)
    if (found) return found
  }
  return undefined
}

/** `sha1:246c9ae1...`, for messages and keys. */
export function formatDigest({ algorithm, hex }: Digest): string {
  return `${algorithm}:${hex}`
}
