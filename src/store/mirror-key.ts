import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { formatMinisignKey, type MinisignSigner, minisign, minisignKeyName, minisignKeyOf } from '../parts/minisign.js'
import type { Places } from './evidence.js'
import type { Signer } from './store.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

const KEY_LIMIT_BYTES = 16 * 1024

/** The mirror's own key, read or made when somebody needs it: what reads only shall leave no key behind. */
export class MirrorKey {
  readonly #places: Places
  #opening: Promise<MinisignSigner> | undefined

  constructor(places: Places) {
    this.#places = places
  }

  /** Rejects with what the disk says, or with what is wrong with the file; the next one tries again. */
  async open(): Promise<MinisignSigner> {
    this.#opening ??= openMirrorKey(this.#places)
    const opening = this.#opening
    try {
      return await opening
    } catch (error) {
      if (this.#opening === opening) this.#opening = undefined
      throw error
    }
  }

  /** @throws MirrorError STORE_FULL, STORE_BROKEN. */
  async signer(): Promise<Signer> {
    try {
      const signer = await this.open()
      return {
        key: minisignKeyName(signer),
        publicKey: formatMinisignKey(signer),
        sign: (text, comment) => minisign(signer, text, comment),
      }
    } catch (cause) {
      throw storeFailure('cannot read or make the key of this mirror', cause)
    }
  }
}

/**
 * The mirror's own Ed25519 key, made where there is none: `keys/mirror.key` (PKCS #8, for its owner alone) and `keys/mirror.pub`, as
 * minisign reads it. Rejects with what the disk says, or with what is wrong with the file.
 */
async function openMirrorKey({ root, partial, fileSystem }: Places): Promise<MinisignSigner> {
  const directory = join(root, 'keys')
  const path = join(directory, 'mirror.key')
  const kept = await readWhole(fileSystem, path, KEY_LIMIT_BYTES)
  let signer: MinisignSigner
  if (kept) {
    const secret = createPrivateKey(kept)
    if (secret.asymmetricKeyType !== 'ed25519') throw new Error(`${path} is no Ed25519 key`)
    signer = minisignKeyOf(secret)
  } else {
    const { privateKey } = generateKeyPairSync('ed25519')
    signer = minisignKeyOf(privateKey)
    await ensureDirectory(fileSystem, directory)
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8' })
    await writeWhole(fileSystem, path, Buffer.from(pem), partial, 0o600)
  }
  // A crash may have left only the first of the two.
  const published = Buffer.from(formatMinisignKey(signer))
  const place = join(directory, 'mirror.pub')
  const found = await readWhole(fileSystem, place, KEY_LIMIT_BYTES).catch(() => undefined)
  if (!found?.equals(published)) await writeWhole(fileSystem, place, published, partial)
  return signer
}
