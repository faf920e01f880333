import { createHmac, randomBytes } from 'node:crypto'
import { MirrorError } from '../../errors.js'
import { hashOfToken, parseTokenHash, TOKEN_FORM } from '../../parts/access-token.js'
import { hashPassword, type PasswordHash, parsePasswordHash } from '../../parts/password-hash.js'
import type { Secret } from '../../parts/secret.js'
import { parseSshPublicKeys, type SshPublicKey } from '../../parts/ssh-public-key.js'
import type { Principal } from './authenticator.js'

/** Somebody we are to know, and where it stands what they prove it with. Paths are absolute. */
export interface UserSource {
  readonly name: string
  readonly isReadOnly: boolean
  readonly passwordFile: string | undefined
  readonly passwordHash: Secret | undefined
  readonly tokenFile: string | undefined
  readonly tokenHash: Secret | undefined
  readonly sshKeyFiles: readonly string[]
}

export interface User extends Principal {
  readonly isReadOnly: boolean
  readonly passwordHash: PasswordHash | undefined
  readonly tokenHash: Buffer | undefined
  readonly keys: readonly SshPublicKey[]
}

/**
 * Everybody we know. Who is looked up by a name that nobody has gets a decoy: what it takes to refuse them must not tell
 * that they do not exist.
 */
export class Users {
  /** In the order of the configuration. */
  readonly all: readonly User[]
  readonly #byName: ReadonlyMap<string, User>
  readonly #byFingerprint: ReadonlyMap<string, User>
  readonly #withPassword: readonly PasswordHash[]
  readonly #withKeys: readonly (readonly SshPublicKey[])[]
  /** Of this process alone, so that nobody can tell which decoy a name gets. */
  readonly #secret = randomBytes(32)

  /** @throws MirrorError CONFIG_INVALID when two users have the same key. */
  constructor(all: readonly User[]) {
    this.all = all
    this.#byName = new Map(all.map((user) => [user.name, user]))
    this.#withPassword = all.flatMap(({ passwordHash }) => passwordHash ?? [])
    this.#withKeys = all.flatMap(({ keys }) => (keys.length > 0 ? [keys] : []))
    const byFingerprint = new Map<string, User>()
    for (const user of all) {
      for (const fingerprint of user.keys.flatMap(({ fingerprints }) => fingerprints)) {
        const other = byFingerprint.get(fingerprint)
        if (other && other !== user) {
          throw new MirrorError(
            'CONFIG_INVALID',
            `users ${other.name} and ${user.name} have the same key, ${fingerprint}`,
          )
        }
        byFingerprint.set(fingerprint, user)
      }
    }
    this.#byFingerprint = byFingerprint
  }

  named(name: string): User | undefined {
    return this.#byName.get(name)
  }

  /** Who has the key with this fingerprint, in either of ssh-keygen's forms. */
  withKey(fingerprint: string): User | undefined {
    return this.#byFingerprint.get(fingerprint)
  }

  /** What to compare a password with; `undefined` only when nobody has one. */
  passwordHashFor(name: string): PasswordHash | undefined {
    return this.named(name)?.passwordHash ?? this.#decoy(this.#withPassword, name)
  }

  /** What to verify a signature with. */
  keysFor(user: User | undefined, name: string): readonly SshPublicKey[] {
    if (user && user.keys.length > 0) return user.keys
    return this.#decoy(this.#withKeys, name) ?? []
  }

  /** The same for the same name, as that of a user would be. */
  #decoy<Choice>(choices: readonly Choice[], name: string): Choice | undefined {
    const number = createHmac('sha256', this.#secret).update(name).digest().readUInt32BE()
    return choices[number % Math.max(1, choices.length)]
  }
}

/**
 * Reads what users prove themselves with.
 * @throws MirrorError CONFIG_INVALID naming the user and the file, never what is in it.
 */
export async function loadUsers(
  sources: readonly UserSource[],
  readFile: (path: string) => Promise<string>,
): Promise<Users> {
  return new Users(await Promise.all(sources.map((source) => loadUser(source, readFile))))
}

async function loadUser(source: UserSource, readFile: (path: string) => Promise<string>): Promise<User> {
  const { name, isReadOnly, passwordFile, tokenFile, sshKeyFiles } = source
  const refuse = (path: string, reason: string, cause?: unknown): never => {
    throw new MirrorError('CONFIG_INVALID', `of user ${name}, ${path}: ${reason}`, { cause })
  }
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(path)
    } catch (cause) {
      return refuse(path, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
    }
  }

  let passwordHash = source.passwordHash && parsePasswordHash(source.passwordHash.reveal())
  if (passwordFile !== undefined) {
    const text = (await read(passwordFile)).replace(/\r?\n$/, '')
    if (text === '') refuse(passwordFile, 'it is empty')
    passwordHash = parsePasswordHash(text) ?? (await hashPassword(text))
  }

  let tokenHash = source.tokenHash && parseTokenHash(source.tokenHash.reveal())
  if (tokenFile !== undefined) tokenHash = hashOfToken((await read(tokenFile)).trim()) ?? refuse(tokenFile, TOKEN_FORM)

  const keys: SshPublicKey[] = []
  for (const path of sshKeyFiles) {
    const { keys: found, faults } = parseSshPublicKeys(await read(path))
    const [fault] = faults
    if (fault) refuse(path, `line ${fault.line}: ${fault.reason}`)
    if (found.length === 0) refuse(path, 'there is no key in it')
    keys.push(...found)
  }
  return { name, isReadOnly, passwordHash, tokenHash, keys }
}
