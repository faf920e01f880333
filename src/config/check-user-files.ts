import { hashOfToken, TOKEN_FORM } from '../parts/access-token.js'
import { parseSshPublicKeys } from '../parts/ssh-public-key.js'
import { formatPath, type Path, type Problem } from './problem.js'
import { isMapping } from './walk-schema.js'

/**
 * Whether what users and operators are to prove themselves with is of the right form. Says where it is wrong, never what was found.
 *
 * @param contents of the files, by `formatPath` of the key that names them. One that could not be read is not there.
 */
export function checkUserFiles(data: unknown, contents: ReadonlyMap<string, string>): Problem[] {
  const problems: Problem[] = []
  const operatorToken = contents.get('operatorAccess.tokenFile')
  if (operatorToken !== undefined && !hashOfToken(operatorToken.trim())) {
    problems.push({ path: ['operatorAccess', 'tokenFile'], complaint: `right is a file with ${TOKEN_FORM}` })
  }
  for (const [index, user] of usersOf(data).entries()) {
    if (!isMapping(user)) continue
    const path: Path = ['publish', 'users', index]
    const token = contents.get(formatPath([...path, 'tokenFile']))
    if (token !== undefined && !hashOfToken(token.trim())) {
      problems.push({ path: [...path, 'tokenFile'], complaint: `right is a file with ${TOKEN_FORM}` })
    }
    for (const place of Array.isArray(user.sshKeys) ? user.sshKeys.keys() : []) {
      const text = contents.get(formatPath([...path, 'sshKeys', place]))
      if (text === undefined) continue
      const { keys, faults } = parseSshPublicKeys(text)
      const complaints = faults.map(({ line, reason }) => `line ${line} of that file: ${reason}`)
      if (keys.length === 0 && faults.length === 0) complaints.push('right is a file with a public key in it')
      problems.push(...complaints.map((complaint) => ({ path: [...path, 'sshKeys', place], complaint })))
    }
  }
  return problems
}

/** The entries of `publish.users`, whatever they are. */
export function usersOf(data: unknown): readonly unknown[] {
  const publish = isMapping(data) ? data.publish : undefined
  return isMapping(publish) && Array.isArray(publish.users) ? publish.users : []
}
