import { DIGEST_ALGORITHMS, type DigestAlgorithm } from './digest.js'
import type { ImageFile, Manifest } from './manifest.js'

/**
 * Where two manifests of one uuid speak of different images, in words for an operator: number of files, sizes, digests,
 * origin. Empty when they agree. What only one of them declares is no difference; neither is a name or a state.
 */
export function identityDifferences(one: Manifest, other: Manifest): string[] {
  const differences = differencesOfFiles(one, other)
  if (one.origin === other.origin) return differences
  return [`origin ${one.origin ?? 'none'} or ${other.origin ?? 'none'}`, ...differences]
}

/** Where their files differ, in the same words. What only one of them declares is no difference. */
export function differencesOfFiles(one: Manifest, other: Manifest): string[] {
  const differences: string[] = []
  if (one.files.length !== other.files.length) {
    differences.push(`${one.files.length} or ${other.files.length} files`)
  }
  for (const [index, file] of one.files.entries()) {
    const counterpart = other.files[index]
    if (counterpart) differences.push(...fileDifferences(file, counterpart, `files[${index}]`))
  }
  return differences
}

function fileDifferences(one: ImageFile, other: ImageFile, name: string): string[] {
  const differences: string[] = []
  if (one.sizeBytes !== other.sizeBytes) {
    differences.push(`${name} size ${one.sizeBytes} or ${other.sizeBytes} bytes`)
  }
  for (const algorithm of DIGEST_ALGORITHMS) {
    const [left, right] = [hexOf(one, algorithm), hexOf(other, algorithm)]
    if (left && right && left !== right) differences.push(`${name} ${algorithm} ${left} or ${right}`)
  }
  return differences
}

function hexOf({ digests }: ImageFile, algorithm: DigestAlgorithm): string | undefined {
  return digests.find((digest) => digest.algorithm === algorithm)?.hex
}
