/** Something at rest that was not as we wrote it. */
export interface Flaw {
  readonly kind: 'image' | 'icon' | 'claims' | 'registry' | 'bundle' | 'index'
  /** The file in question. */
  readonly path: string
  readonly complaint: string
  /** Whether it is good again: written anew from what we know. Otherwise it is out of service. */
  readonly isMended: boolean
}

/** A store that can read again all it has written. */
export interface Audited {
  /**
   * Reads everything and compares it with what is known. What is damaged is mended from memory where that knows better, with
   * the damaged bytes, or what is telling of them, in `quarantine/`.
   * @throws MirrorError STORE_BROKEN, STORE_FULL when that is not possible; what was found before is in the log.
   */
  audit(): Promise<readonly Flaw[]>
}
