import { formatWant } from '../images/bundle/want.js'
import { formatBase32 } from '../parts/base32.js'
import { type CheckedLine, formatCheckedLines } from './checked-lines.js'
import type { ByteRange, Want } from './inventory.js'
import { INVENTORY_TITLE, INVENTORY_VERSION, PART_UNIT_BYTES } from './inventory-form.js'
import { fileWord, imageWord, wordLength } from './inventory-words.js'

export interface Held {
  readonly site: string
  readonly atMs: number
  /** The name of the key that `sign` signs with. */
  readonly key: string
  /** SALT_BYTES random ones, other ones for every inventory: a word that is taken for another one is not taken so twice. */
  readonly salt: Uint8Array
  /** Held whole, with all they build on. */
  readonly images: readonly { readonly uuid: string; readonly sha256s: readonly string[] }[]
  /** SHA-256 of files that are there whole, and of none of these images. */
  readonly files: readonly string[]
  /** Files of which a part is there; what of a range is no whole MiB counts as not there, but for the end of the file. */
  readonly parts: readonly {
    readonly sha256: string
    readonly sizeBytes: number
    readonly ranges: readonly ByteRange[]
  }[]
  readonly wants: readonly Want[]
}

/** Of contents: with number, kind and check a line fits 80 columns, and a printed page. */
const LINE_LENGTH = 64
const SIGNATURE_WORDS_PER_LINE = 7
const TITLE = [
  `${INVENTORY_TITLE}`,
  'The last four characters of a line check it. Typed by hand: 0 and O are the',
  'same, so are 1, I and L, and small letters; the order of lines does not matter.',
  '',
]

/** An inventory as text, the same for the same contents, to be saved, printed, typed or scanned. @param sign as minisign does. */
export function formatInventory(held: Held, sign: (text: string, comment: string) => string): string {
  const text = formatUnsigned(contentsOf(held))
  const lines = signatureLines(sign(text, INVENTORY_TITLE))
  const first = text.split('\n').length - TITLE.length
  return `${text}${formatCheckedLines(lines, first).join('\n')}\n`
}

/** What is signed, and named by its SHA-256: as formatted, however it was typed. */
export function formatUnsigned(lines: readonly CheckedLine[]): string {
  return `${[...TITLE, ...formatCheckedLines(lines, 1)].join('\n')}\n`
}

function contentsOf({ atMs, files, images, key, parts, salt, site, wants }: Held): CheckedLine[] {
  const saltWord = formatBase32(salt)
  const length = wordLength(images.length + files.length + parts.length)
  const imageWords = images.map(({ uuid, sha256s }) => imageWord(saltWord, length, uuid, sha256s))
  const fileWords = files.map((sha256) => fileWord(saltWord, length, sha256))
  const body = [
    ...wants.map((want) => ({ kind: 'want', content: formatWant(want) })),
    ...wordLines('image', imageWords),
    ...wordLines('file', fileWords),
    ...parts.flatMap((part) => partLines(fileWord(saltWord, length, part.sha256), part)),
  ]
  const head = [
    { kind: 'inventory', content: `version ${INVENTORY_VERSION}` },
    { kind: 'site', content: site.normalize('NFC') },
    { kind: 'at', content: new Date(atMs).toISOString() },
    { kind: 'key', content: key },
    { kind: 'salt', content: saltWord },
  ]
  return [...head, { kind: 'lines', content: String(head.length + 1 + body.length) }, ...body]
}

function wordLines(kind: string, words: readonly string[]): CheckedLine[] {
  const sorted = [...new Set(words)].sort()
  const perLine = Math.floor(LINE_LENGTH / ((sorted[0]?.length ?? 0) + 1))
  const lines: CheckedLine[] = []
  for (let at = 0; at < sorted.length; at += perLine) {
    lines.push({ kind, content: sorted.slice(at, at + perLine).join(' ') })
  }
  return lines
}

/** `7ZK3M0QA 0-12 40-41`: MiB, the second exclusive. */
function partLines(word: string, { ranges, sizeBytes }: Held['parts'][number]): CheckedLine[] {
  const lines: CheckedLine[] = []
  let content = word
  for (const { endBytes, startBytes } of ranges) {
    const start = Math.ceil(startBytes / PART_UNIT_BYTES)
    const end = endBytes === sizeBytes ? Math.ceil(endBytes / PART_UNIT_BYTES) : Math.floor(endBytes / PART_UNIT_BYTES)
    if (start >= end) continue
    const range = `${start}-${end}`
    if (content !== word && content.length + range.length >= LINE_LENGTH) {
      lines.push({ kind: 'part', content })
      content = word
    }
    content += ` ${range}`
  }
  return content === word ? lines : [...lines, { kind: 'part', content }]
}

/** The bytes of a .minisig file, without its comments. */
function signatureLines(signature: string): CheckedLine[] {
  const [, line = '', , global = ''] = signature.split('\n')
  const text = formatBase32(Buffer.concat([Buffer.from(line, 'base64'), Buffer.from(global, 'base64')]))
  const words = text.match(/.{1,8}/g) ?? []
  return Array.from({ length: Math.ceil(words.length / SIGNATURE_WORDS_PER_LINE) }, (_, index) => ({
    kind: 'sign',
    content: words.slice(index * SIGNATURE_WORDS_PER_LINE, (index + 1) * SIGNATURE_WORDS_PER_LINE).join(' '),
  }))
}
