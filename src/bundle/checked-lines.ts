import { crc32 } from 'node:zlib'
import { MirrorError } from '../errors.js'
import { asTyped, formatBase32 } from '../parts/base32.js'

/** Of a line, what stands between its number and its check. */
export interface CheckedLine {
  readonly kind: string
  readonly content: string
}

/** `  17 image 7ZK3M0QA 8H2VN3CC 4XQF`: number, kind, content, check. */
const NUMBER_AND_KIND = /^(\d{1,7})\s+(\S{1,20})\s/
const CHECK = /^\s[0-9A-Za-z]{4}$/
const CHECK_LENGTH = 4
/** Numbers that are named in one message. */
const TOLD_LINES = 20

/**
 * Lines that survive paper: each has its number, and four characters by which it is known whether it was typed as it was printed.
 * @param first the number of the first line.
 */
export function formatCheckedLines(lines: readonly CheckedLine[], first: number): string[] {
  return lines.map(({ content, kind }, index) => {
    const number = first + index
    return `${String(number).padStart(4)} ${kind} ${content} ${checkOf(number, kind, content)}`
  })
}

/**
 * Reads such lines, in any order, from whatever stands around them: pages may be typed or scanned as they come, and have headings.
 * @param words kinds whose content is base32, where case and look-alikes do not matter.
 * @throws MirrorError BUNDLE_INVALID naming the lines that are not as they were written, and those that are missing.
 */
export function parseCheckedLines(text: string, what: string, words: ReadonlySet<string>): CheckedLine[] {
  const lines: CheckedLine[] = []
  const wrong = new Set<number>()
  for (const typed of text.normalize('NFC').split(/\r\n|[\r\n\f]/)) {
    const parts = partsOf(typed.trim())
    if (!parts) continue
    const { check, number } = parts
    const line = readLine(parts.kind.toLowerCase(), parts.content, words)
    const isWrong = checkOf(number, line.kind, line.content) !== asTyped(check)
    const before = lines[number]
    const isOther = before !== undefined && (before.kind !== line.kind || before.content !== line.content)
    if (isWrong || isOther) wrong.add(number)
    else lines[number] = line
  }
  const missing: number[] = []
  for (let number = 1; number < lines.length && missing.length <= TOLD_LINES; number++) {
    if (!lines[number] && !wrong.has(number)) missing.push(number)
  }
  if (wrong.size > 0 || missing.length > 0)
    throw new MirrorError('BUNDLE_INVALID', complaint(what, [...wrong], missing))
  return lines.slice(1)
}

/** Without looking twice at any character: a line may be megabytes of blanks. */
function partsOf(line: string): { number: number; kind: string; content: string; check: string } | undefined {
  const [head = '', digits, kind = ''] = NUMBER_AND_KIND.exec(line) ?? []
  const isLine = digits !== undefined && line.length >= head.length + CHECK_LENGTH
  if (!isLine || !CHECK.test(line.slice(-CHECK_LENGTH - 1))) return undefined
  const content = line.slice(head.length, -CHECK_LENGTH).trim()
  return { number: Number(digits), kind, content, check: line.slice(-CHECK_LENGTH) }
}

function readLine(kind: string, content: string, words: ReadonlySet<string>): CheckedLine {
  return { kind, content: words.has(kind) ? asTyped(content).replace(/\s+/g, ' ') : content }
}

/** Twenty bits: one wrong line in a million goes through here, and is then stopped by the signature. */
function checkOf(number: number, kind: string, content: string): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(`${number} ${kind} ${content}`))
  return formatBase32(bytes).slice(0, 4)
}

function complaint(what: string, wrong: readonly number[], missing: readonly number[]): string {
  const parts: string[] = []
  if (wrong.length > 0) parts.push(`${named(wrong)} not as printed (compare with the original)`)
  if (missing.length > 0) parts.push(`${named(missing)} missing`)
  return `${what}: ${parts.join('; ')}`
}

function named(numbers: readonly number[]): string {
  const told = numbers.slice(0, TOLD_LINES).join(', ')
  const more = numbers.length > TOLD_LINES ? ' and more' : ''
  return numbers.length === 1 ? `line ${told} is` : `lines ${told}${more} are`
}
