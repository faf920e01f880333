import { isMirrorError } from '../errors.js'
import { parseFilter } from '../images/filter.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { parseSize } from '../parts/parse-size.js'
import { CommandFailure, MISUSED } from './command.js'

/** @throws CommandFailure of misuse. */
export function readUuid(text: string): Uuid {
  const uuid = parseUuid(text.toLowerCase())
  if (uuid) return uuid
  throw new CommandFailure(`"${text}" is no uuid; imgapi-mirror avail name=~${wordOf(text)} may find it`, MISUSED)
}

/**
 * Filters as bare arguments, `name=~base os!=linux`, as one text. The shell has taken the quotes from values with blanks.
 * @throws CommandFailure of misuse.
 */
export function readFilter(args: readonly string[]): string | undefined {
  if (args.length === 0) return undefined
  const text = args.map(quoted).join(' ')
  try {
    parseFilter(text)
  } catch (error) {
    if (!isMirrorError(error)) throw error
    throw new CommandFailure(error.message, MISUSED, { cause: error })
  }
  return text
}

/** Filters, each in one argument. @throws CommandFailure of misuse. */
export function readFilters(texts: readonly string[]): string[] {
  return texts.map((text) => readFilter([text])!)
}

/** @throws CommandFailure of misuse. */
export function readCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new CommandFailure(`"${text}" is no count; right would be 2`, MISUSED)
}

/** @throws CommandFailure of misuse. */
export function readSize(text: string): number {
  const bytes = parseSize(text)
  if (bytes !== undefined) return bytes
  throw new CommandFailure(`"${text}" is no size; right would be 10GiB or 500MB`, MISUSED)
}

function quoted(arg: string): string {
  const [, condition = '', value = ''] = /^([^\s=!<>~"']+(?:!=|=~|!~|>=|<=|=))([^"']*\s[^"']*)$/s.exec(arg) ?? []
  return condition === '' ? arg : `${condition}"${value}"`
}

function wordOf(text: string): string {
  return text.match(/^[\w.-]{1,40}/)?.[0] ?? 'base'
}
