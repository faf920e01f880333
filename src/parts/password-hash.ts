import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'

/** What is kept of a password: enough to recognise it, and dear to guess from. Texts: `scrypt:N:r:p:salt:key`. */
export interface PasswordHash {
  /** scrypt's N, r and p (RFC 7914). */
  readonly cost: number
  readonly blockSize: number
  readonly parallelism: number
  readonly salt: Buffer
  readonly key: Buffer
}

/** For messages: what `parsePasswordHash` takes. */
export const PASSWORD_HASH_FORM = 'a hash as "imgapi-mirror user hash-password" prints it (scrypt:N:r:p:salt:key)'

/** 16 MiB and about 0.2 s: what OWASP's Password Storage Cheat Sheet sees as equal to its first choice, N=2^17, p=1. */
const OURS = { cost: 2 ** 14, blockSize: 8, parallelism: 5 }

/** Weaker ones are no protection, costlier ones let whoever guesses keep us busy. */
const LEAST_COST = 2 ** 14
const LARGEST_BYTES = 64 * 1024 * 1024
const MOST_PARALLELISM = 16
const MOST_BLOCK_SIZE = 32

const SALT_BYTES = 16
const KEY_BYTES = 32

const FORM = /^scrypt:(\d{1,8}):(\d{1,3}):(\d{1,3}):([A-Za-z0-9_-]{22,86}):([A-Za-z0-9_-]{43,86})$/

/** Answers `undefined` for what is no such text, or has costs we do not accept. */
export function parsePasswordHash(text: string): PasswordHash | undefined {
  const [, cost, blockSize, parallelism, salt, key] = FORM.exec(text) ?? []
  if (salt === undefined || key === undefined) return undefined
  const hash = {
    cost: Number(cost),
    blockSize: Number(blockSize),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, 'base64url'),
    key: Buffer.from(key, 'base64url'),
  }
  const isPowerOfTwo = Number.isInteger(Math.log2(hash.cost))
  const isAcceptable =
    isPowerOfTwo &&
    hash.cost >= LEAST_COST &&
    hash.blockSize >= 8 &&
    hash.blockSize <= MOST_BLOCK_SIZE &&
    hash.parallelism >= 1 &&
    hash.parallelism <= MOST_PARALLELISM &&
    128 * hash.cost * hash.blockSize <= LARGEST_BYTES
  return isAcceptable ? hash : undefined
}

/** As it stands in files. */
export function formatPasswordHash({ cost, blockSize, parallelism, salt, key }: PasswordHash): string {
  return ['scrypt', cost, blockSize, parallelism, salt.toString('base64url'), key.toString('base64url')].join(':')
}

/** With a salt of its own. */
export async function hashPassword(password: string): Promise<PasswordHash> {
  const salt = randomBytes(SALT_BYTES)
  return { ...OURS, salt, key: await derive(password, { ...OURS, salt, key: Buffer.alloc(KEY_BYTES) }) }
}

/** Takes as long for a wrong password as for the right one. */
export async function isPassword(password: string, hash: PasswordHash): Promise<boolean> {
  return timingSafeEqual(await derive(password, hash), hash.key)
}

function derive(password: string, { cost, blockSize, parallelism, salt, key }: PasswordHash): Promise<Buffer> {
  const options: ScryptOptions = { N: cost, r: blockSize, p: parallelism, maxmem: 2 * LARGEST_BYTES }
  return new Promise((resolve, reject) => {
    scrypt(password, salt, key.length, options, (error, derived) => (error ? reject(error) : resolve(derived)))
  })
}
