import { isMirrorError, MirrorError } from '../errors.js'
import { VOLUME_INDEX_LIMIT_BYTES } from '../images/bundle/bundle-limits.js'
import type { Medium } from '../store/medium.js'
import { volumePath } from './volume-path.js'

const SIGNATURE_LIMIT_BYTES = 4096

/** What a volume has twice, as nothing can be healed without it: under its name, and under its last name in `copies/`. */
export class SmallFiles {
  readonly #medium: Medium
  readonly #directory: string

  constructor(medium: Medium, directory: string) {
    this.#medium = medium
    this.#directory = directory
  }

  /** Writes both copies, the second one first; those that are there already are left alone. */
  async placeTwice(path: string, bytes: Buffer): Promise<void> {
    for (const place of [copyOf(path), path]) {
      const full = volumePath(this.#directory, place)
      if (await this.#isThere(full, bytes)) continue
      await this.#medium.writeWhole(full, bytes)
      if (await this.#isThere(full, bytes)) continue
      throw new MirrorError('MEDIUM_UNREADABLE', `${this.#medium.path} does not give back what was written: ${full}`)
    }
  }

  async removeTwice(path: string): Promise<void> {
    for (const place of [path, copyOf(path)]) await this.#medium.remove(volumePath(this.#directory, place))
  }

  /** What is there of a file and of its copy, and can be read. */
  async copiesOf(path: string, limitBytes = VOLUME_INDEX_LIMIT_BYTES): Promise<readonly Buffer[]> {
    const found: Buffer[] = []
    for (const place of [path, copyOf(path)]) {
      const bytes = await this.#read(volumePath(this.#directory, place), limitBytes)
      if (bytes) found.push(bytes)
    }
    return found
  }

  /**
   * The signature that is there already, if it is ours of that text, with whatever comment; else `fresh`: so a bundle that is exported
   * again is not signed again.
   */
  async signatureFor(
    path: string,
    text: Buffer,
    fresh: string,
    sign: (text: Buffer, comment: string) => string,
  ): Promise<string> {
    for (const bytes of await this.copiesOf(`${path}.minisig`, SIGNATURE_LIMIT_BYTES)) {
      const signature = bytes.toString()
      const comment = /^trusted comment: (.*)$/m.exec(signature)?.[1]
      // Ed25519 signs the same text in the same way always.
      if (comment !== undefined && sign(text, comment) === signature) return signature
    }
    return fresh
  }

  async #isThere(path: string, bytes: Buffer): Promise<boolean> {
    const found = await this.#read(path, bytes.length)
    return found?.equals(bytes) === true
  }

  async #read(path: string, limitBytes: number): Promise<Buffer | undefined> {
    try {
      return await this.#medium.readWhole(path, limitBytes)
    } catch (error) {
      if (isMirrorError(error)) return undefined
      throw error
    }
  }
}

export function copyOf(path: string): string {
  return `copies/${path.slice(path.lastIndexOf('/') + 1)}`
}
