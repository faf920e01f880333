import { DIGEST_ALGORITHMS, type Digest } from '../images/digest.js'
import type { ImageFile, Manifest } from '../images/manifest.js'
import type { BlobRef } from '../store/blob-store.js'
import type { HeldImage } from '../store/image-store.js'

/**
 * The manifest of a held image with all that was measured of its files. What is lost since is known as it was declared.
 * @param find the kept blob with this sha256 and size, if any.
 */
export function measuredManifest(
  { manifest, files }: HeldImage,
  find: (digest: Digest, sizeBytes: number) => Pick<BlobRef, 'sha256' | 'sha1' | 'md5'> | undefined,
): Manifest {
  const measure = (file: ImageFile, index: number): ImageFile => {
    const sha256 = files[index]?.sha256
    const blob = sha256 && find({ algorithm: 'sha256', hex: sha256 }, file.sizeBytes)
    if (!blob) return file
    return { ...file, digests: DIGEST_ALGORITHMS.map((algorithm) => ({ algorithm, hex: blob[algorithm] })) }
  }
  return { ...manifest, files: manifest.files.map(measure) }
}
