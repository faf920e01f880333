import { createHash } from 'node:crypto'
import { MirrorError } from '../errors.js'
import { parseWant, WANT_FORM } from '../images/bundle/want.js'
import { parseBase32 } from '../parts/base32.js'
import { brief } from '../parts/json-object.js'
import { type CheckedLine, parseCheckedLines } from './checked-lines.js'
import { formatUnsigned } from './format-inventory.js'
import type { ByteRange, Inventory, Want } from './inventory.js'
import {
  INVENTORY_LIMIT_BYTES,
  INVENTORY_TITLE,
  INVENTORY_VERSION,
  PART_UNIT_BYTES,
  SALT_BYTES,
  WORD_KINDS,
} from './inventory-form.js'
import { fileWord, imageWord } from './inventory-words.js'
import type { TrustedKeys } from './trusted-keys.js'

/** Images, files and parts have words of one length. */
const WORD = /^[0-9A-HJKMNP-TV-Z]{6,16}$/
const SITE = /^[^\p{Control}]{1,255}$/u
const MAX_WANTS = 10_000
const MAX_RANGES = 1_000_000
/** Of a .minisig file: algorithm, key and signature, and that of the comment. */
const SIGNATURE_BYTES = 74
const GLOBAL_BYTES = 64
/** MiB in the largest file there can be, 2^53 bytes. */
const MAX_UNITS = 2 ** 33

/**
 * Reads an inventory, as it was written or as somebody typed it.
 * @throws MirrorError BUNDLE_INVALID for one that is not as it was printed, naming lines; BUNDLE_UNTRUSTED when its signature is not of this
 *   text. One that nobody has signed, or somebody we do not know, is answered all the same: see `isTrusted`.
 */
export function parseInventory(text: string, trustedKeys: TrustedKeys): Inventory {
  if (text.length > INVENTORY_LIMIT_BYTES) throw invalid(`longer than ${INVENTORY_LIMIT_BYTES} characters`)
  const all = parseCheckedLines(text, 'the inventory', WORD_KINDS)
  const signed = all.findIndex(({ kind }) => kind === 'sign')
  const lines = signed === -1 ? all : all.slice(0, signed)
  const head = readHead(lines)
  const canonical = formatUnsigned(lines)
  const signature = signed === -1 ? undefined : verify(canonical, all.slice(signed), trustedKeys)
  return {
    site: head.site,
    atMs: head.atMs,
    key: signature?.key,
    isTrusted: signature?.isTrusted ?? false,
    sha256: createHash('sha256').update(canonical).digest('hex'),
    wants: readWants(lines),
    ...readHoldings(lines, head.salt),
  }
}

function readHead(lines: readonly CheckedLine[]): { site: string; atMs: number; salt: string } {
  const version = only(lines, 'inventory')
  if (version !== `version ${INVENTORY_VERSION}`)
    throw invalid(`of ${brief(version)}, which takes a newer release to read`)
  if (Number(only(lines, 'lines')) !== lines.length) {
    throw invalid(`cut: it has ${lines.length} lines before its signature, and says ${brief(only(lines, 'lines'))}`)
  }
  const [site, atMs, salt] = [only(lines, 'site'), Date.parse(only(lines, 'at')), only(lines, 'salt')]
  if (!SITE.test(site)) throw invalid('of a site without a name that can be shown')
  if (Number.isNaN(atMs)) throw invalid('of no date')
  if (parseBase32(salt)?.length !== SALT_BYTES) throw invalid('without its salt')
  return { site, atMs, salt }
}

function only(lines: readonly CheckedLine[], kind: string): string {
  const [line, second] = lines.filter((each) => each.kind === kind)
  if (!line || second) throw invalid(`not one: right is exactly one line that begins with ${kind}`)
  return line.content
}

function verify(
  text: string,
  lines: readonly CheckedLine[],
  trustedKeys: TrustedKeys,
): ReturnType<TrustedKeys['verify']> {
  const bytes = parseBase32(lines.map(({ content }) => content.replaceAll(' ', '')).join(''))
  if (lines.some(({ kind }) => kind !== 'sign') || bytes?.length !== SIGNATURE_BYTES + GLOBAL_BYTES) {
    throw invalid('signed with something that is no signature')
  }
  const signature = [
    'untrusted comment:',
    bytes.subarray(0, SIGNATURE_BYTES).toString('base64'),
    `trusted comment: ${INVENTORY_TITLE}`,
    bytes.subarray(SIGNATURE_BYTES).toString('base64'),
  ].join('\n')
  const found = trustedKeys.verify(text, signature)
  if (found) return found
  throw new MirrorError(
    'BUNDLE_UNTRUSTED',
    'the signature of the inventory is not of this text: somebody has changed it',
  )
}

function readWants(lines: readonly CheckedLine[]): Want[] {
  const wants = lines.filter(({ kind }) => kind === 'want').map(({ content }) => readWant(content))
  if (wants.length > MAX_WANTS) throw invalid(`one with ${wants.length} wants; we take at most ${MAX_WANTS}`)
  return wants
}

function readWant(content: string): Want {
  const want = parseWant(content)
  if (!want) throw invalid(`one that wants ${brief(content)}, which means nothing; right is ${WANT_FORM}`)
  return want
}

function readHoldings(
  lines: readonly CheckedLine[],
  salt: string,
): Pick<Inventory, 'hasImage' | 'hasFile' | 'partsOf'> {
  const wordsOf = (wanted: string) =>
    new Set(lines.flatMap(({ content, kind }) => (kind === wanted ? content.split(' ') : [])))
  const [images, files, parts] = [wordsOf('image'), wordsOf('file'), readParts(lines)]
  const length = commonLength([...images.keys(), ...files.keys(), ...parts.keys()])
  return {
    hasImage: (uuid, sha256s) => images.has(imageWord(salt, length, uuid, sha256s)),
    hasFile: (sha256) => files.has(fileWord(salt, length, sha256)),
    partsOf: (sha256, sizeBytes) =>
      (parts.get(fileWord(salt, length, sha256)) ?? []).flatMap(({ end, start }): ByteRange[] => {
        const startBytes = start * PART_UNIT_BYTES
        return startBytes < sizeBytes ? [{ startBytes, endBytes: Math.min(end * PART_UNIT_BYTES, sizeBytes) }] : []
      }),
  }
}

interface Units {
  readonly start: number
  readonly end: number
}

function readParts(lines: readonly CheckedLine[]): Map<string, Units[]> {
  const parts = new Map<string, Units[]>()
  let count = 0
  for (const { content, kind } of lines) {
    if (kind !== 'part') continue
    const [word = '', ...ranges] = content.split(' ')
    const units = parts.get(word) ?? []
    for (const range of ranges) {
      if (++count > MAX_RANGES) throw invalid(`one with more than ${MAX_RANGES} ranges`)
      const [, start, end] = /^(\d{1,10})-(\d{1,10})$/.exec(range) ?? []
      const last = units.at(-1)
      const isRight = Number(start) < Number(end) && Number(end) <= MAX_UNITS && Number(start) >= (last?.end ?? 0)
      if (!isRight) throw invalid(`one with ${brief(range)}, which is no range of MiB behind the one before it`)
      units.push({ start: Number(start), end: Number(end) })
    }
    parts.set(word, units)
  }
  return parts
}

function commonLength(words: readonly string[]): number {
  const length = words[0]?.length ?? 8
  const wrong = words.find((word) => word.length !== length || !WORD.test(word))
  if (wrong !== undefined) throw invalid(`one with ${brief(wrong)}, which is no word as the others are`)
  return length
}

function invalid(problem: string): MirrorError {
  return new MirrorError('BUNDLE_INVALID', `the inventory is ${problem}`)
}
