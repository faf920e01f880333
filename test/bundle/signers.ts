import { generateKeyPairSync } from 'node:crypto'
import { formatMinisignKey, minisign, minisignKeyName, minisignKeyOf } from '../../src/parts/minisign.js'
import type { Signer } from '../../src/store/store.js'

/** Somebody with a key of their own. */
export function makeSigner(secret = generateKeyPairSync('ed25519').privateKey): Signer {
  const signer = minisignKeyOf(secret)
  return {
    key: minisignKeyName(signer),
    publicKey: formatMinisignKey(signer),
    sign: (text, comment) => minisign(signer, text, comment),
  }
}
