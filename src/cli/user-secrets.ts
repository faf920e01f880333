import type { Readable } from 'node:stream'
import { formatTokenHash, hashToken, makeToken } from '../parts/access-token.js'
import { formatPasswordHash, hashPassword } from '../parts/password-hash.js'
import type { Surroundings } from './surroundings.js'

const LONGEST_INPUT = 1024

/** Prints the hash of the password on the first line of standard input, for `passwordHash`. */
export async function hashPasswordOfInput({ complain, openInput, write }: Surroundings): Promise<number> {
  const { stream } = await openInput(undefined)
  const password = await firstLineOf(stream)
  if (password === '') {
    complain(
      'imgapi-mirror: no password on standard input; pipe it in, and not as an argument, which others could see\n',
    )
    return 1
  }
  write(`${formatPasswordHash(await hashPassword(password))}\n`)
  return 0
}

/** Without its end; what comes behind it is not read. Longer ones are no passwords. */
async function firstLineOf(stream: Readable): Promise<string> {
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    text += String(chunk)
    if (text.includes('\n') || text.length > LONGEST_INPUT) break
  }
  return text.split(/\r?\n/, 1)[0] ?? ''
}

/** Prints a new token, for its user, and its hash, for `tokenHash`. */
export function makeUserToken({ write }: Surroundings): number {
  const token = makeToken()
  write(`token: ${token}\ntokenHash: ${formatTokenHash(hashToken(token))}\n`)
  return 0
}
