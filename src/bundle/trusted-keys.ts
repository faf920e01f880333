import {
  isMinisigned,
  type MinisignKey,
  minisignKeyName,
  minisignSignerName,
  parseMinisignKey,
} from '../parts/minisign.js'

/** Who signed something. */
export interface Signature {
  /** The name of the key. */
  readonly key: string
  /** False of a key that we do not have: then it is only claimed. */
  readonly isTrusted: boolean
}

/** The keys whose word we take for what comes from elsewhere. */
export class TrustedKeys {
  readonly #keys: readonly MinisignKey[]

  /** @param publicKeys contents of `.pub` files; those that are none are left out, as the configuration has been checked. */
  static of(publicKeys: readonly string[]): TrustedKeys {
    return new TrustedKeys(publicKeys.flatMap((text) => parseMinisignKey(text) ?? []))
  }

  private constructor(keys: readonly MinisignKey[]) {
    this.#keys = keys
  }

  /** These and one more: a mirror's own is trusted by itself. */
  and(publicKey: string): TrustedKeys {
    const key = parseMinisignKey(publicKey)
    return key ? new TrustedKeys([...this.#keys, key]) : this
  }

  get names(): readonly string[] {
    return this.#keys.map(minisignKeyName)
  }

  /**
   * Who signed `text`, by the content of a `.minisig` file. `undefined` when it is no signature, or one of a key we trust, but not of
   * this text. That of another key cannot be checked.
   */
  verify(text: string | Uint8Array, signature: string): Signature | undefined {
    const key = minisignSignerName(signature)
    if (key === undefined) return undefined
    const known = this.#keys.filter((each) => minisignKeyName(each) === key)
    if (known.length === 0) return { key, isTrusted: false }
    return known.some((each) => isMinisigned(each, text, signature)) ? { key, isTrusted: true } : undefined
  }
}
