import { UserAuthenticator, type UserAuthenticatorOptions } from '../../src/http/auth/user-authenticator.js'
import type { UserSource } from '../../src/http/auth/users.js'
import { Secret } from '../../src/parts/secret.js'
import { FakeClock } from './fake-clock.js'

/** Cheap to check, so that tests are not slow: of the password "geheim". */
export const HASH_OF_GEHEIM = 'scrypt:16384:8:1:AAAAAAAAAAAAAAAAAAAAAA:bycT3uDnDpHQcp2r6rt-ahE1XmlK_2ZIqeNyp6iA0x4'

export interface GivenUser {
  readonly name: string
  readonly isReadOnly?: boolean
  readonly passwordHash?: string
  readonly passwordFile?: string
  readonly tokenHash?: string
  readonly tokenFile?: string
  readonly sshKeyFiles?: readonly string[]
}

/** Alice, whose password is "geheim". */
export const ALICE: GivenUser = { name: 'alice', passwordHash: HASH_OF_GEHEIM }

/** What knows these users. A file's content is what `files` says. */
export function authenticatorOf(
  users: readonly GivenUser[] = [],
  { files = {}, ...options }: Partial<UserAuthenticatorOptions> & { files?: Readonly<Record<string, string>> } = {},
): Promise<UserAuthenticator> {
  return UserAuthenticator.open({
    users: users.map(sourceOf),
    read: 'open',
    hidesPrivate: false,
    clock: new FakeClock(),
    readFile: async (path) => {
      const text = files[path]
      if (text === undefined) throw new Error(`ENOENT: no such file, open '${path}'`)
      return text
    },
    ...options,
  })
}

export function sourceOf({ name, isReadOnly = false, passwordHash, tokenHash, ...files }: GivenUser): UserSource {
  return {
    name,
    isReadOnly,
    passwordFile: files.passwordFile,
    passwordHash: passwordHash === undefined ? undefined : new Secret(passwordHash),
    tokenFile: files.tokenFile,
    tokenHash: tokenHash === undefined ? undefined : new Secret(tokenHash),
    sshKeyFiles: files.sshKeyFiles ?? [],
  }
}

/** `Authorization` for HTTP Basic. */
export function basic(name: string, password: string): { authorization: string } {
  return { authorization: `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}` }
}
