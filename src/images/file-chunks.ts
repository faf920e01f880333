/** The chunk hashes of an image file that somebody has verified as a whole. */
export interface FileChunks {
  readonly sizeBytes: number
  readonly sha256: string
  readonly sha1: string
  readonly md5: string
  readonly chunkBytes: number
  /** SHA-256 of every `chunkBytes` of the file in order, lower-case hex. */
  readonly chunks: readonly string[]
}
