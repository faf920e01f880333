/** One way to log in that a server offers with a 401: RFC 9110, 11.6.1. */
export interface Challenge {
  /** In lower case, as all names here: `bearer`, `basic`. */
  readonly scheme: string
  readonly parameters: ReadonlyMap<string, string>
}

/** Nobody offers more, or says it at greater length. */
const CHALLENGES_LIMIT = 16
const HEADER_CHARACTERS_LIMIT = 8192

const SEPARATORS = /[ \t,]*/y
const BLANKS = /[ \t]*/y
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y
const EQUALS = /[ \t]*=[ \t]*/y
const QUOTED = /"((?:[^"\\]|\\.)*)"/y
/** Credentials in one word, instead of parameters: nothing we use has them. */
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y

/**
 * Reads WWW-Authenticate headers: several challenges may stand in several headers, or in one, with commas between them and
 * between their parameters alike. What is not of that grammar ends the reading of its header, with the challenge that it
 * is in: half a challenge might name a realm that was never meant.
 */
export function parseChallenges(headers: readonly string[]): Challenge[] {
  return headers.flatMap(parseHeader).slice(0, CHALLENGES_LIMIT)
}

function parseHeader(header: string): Challenge[] {
  if (header.length > HEADER_CHARACTERS_LIMIT) return []
  const whole: Challenge[] = []
  let current: { scheme: string; parameters: Map<string, string> } | undefined
  let position = 0
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = position
    const match = pattern.exec(header) ?? undefined
    if (match) position = pattern.lastIndex
    return match
  }
  for (;;) {
    take(SEPARATORS)
    if (position === header.length) return current ? [...whole, current] : whole
    const name = take(TOKEN)?.[0]?.toLowerCase()
    if (name === undefined) return whole
    if (take(EQUALS)) {
      const value = take(QUOTED)?.[1]?.replace(/\\(.)/g, '$1') ?? take(TOKEN)?.[0]
      // Twice the same name: whose is the right one?
      if (!current || value === undefined || current.parameters.has(name)) return whole
      current.parameters.set(name, value)
      // `a="b"c`: no grammar allows that.
      if (position < header.length && !/[ \t,]/.test(header[position]!)) return whole
      continue
    }
    if (current) whole.push(current)
    current = { scheme: name, parameters: new Map() }
    const blanks = take(BLANKS)?.[0] ?? ''
    if (blanks === '' && position < header.length && header[position] !== ',') return whole
    // A scheme with nothing behind it, a word of credentials, or the first parameter.
    if (blanks !== '') take(TOKEN68)
  }
}
