import { generateKeyPairSync } from 'node:crypto'
import { formatMinisignKey, minisign, minisignKeyName, minisignKeyOf } from '../../src/parts/minisign.js'
import type { Signer } from '../../src/store/store.js'

/** Somebody with a key of their own. */
export function makeSigner(): Signer {
  const signer = minisignKeyOf(generateKeyPairSync('ed25519').privateKey)
  return {
    key: minisignKeyName(signer),
    publicKey: formatMinisignKey(signer),
    sign: (text, comment) => minisign(signer, text, comment),
  }
}
