/** A file of a volume; `path` is relative to it, with `/`. */
export interface VolumeFile {
  readonly path: string
  readonly sizeBytes: number
  readonly sha256: string
}

export interface VolumeParity {
  readonly dataShards: number
  readonly parityShards: number
  readonly groups: number
  readonly files: readonly VolumeFile[]
}

/** `volume.json`: what one volume of a bundle has. Its form is in docs/bundle-format.md. */
export interface VolumeIndex {
  /** The bundle's id: SHA-256 of `bundle.json`. */
  readonly bundle: string
  /** From 1. */
  readonly volume: number
  readonly volumes: number
  /** Sorted by path; no two of one path. */
  readonly files: readonly VolumeFile[]
  readonly blocks: {
    readonly blockBytes: number
    readonly count: number
    readonly sizeBytes: number
    readonly sha256: string
  }
  readonly parity: VolumeParity | undefined
}
