import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatInventory, type Held } from '../../src/bundle/format-inventory.js'
import { parseInventory } from '../../src/bundle/parse-inventory.js'
import { TrustedKeys } from '../../src/bundle/trusted-keys.js'
import { isMirrorError } from '../../src/errors.js'
import { MIB, sha256Of } from '../images/bundle/bundles.js'
import { uuid } from '../images/manifests.js'
import { makeSigner } from './signers.js'

const signer = makeSigner()
const trustedKeys = TrustedKeys.of([signer.publicKey])

function held(changes: Partial<Held> = {}): Held {
  return {
    site: 'closed side, Zürich',
    atMs: Date.parse('2026-01-02T03:04:05.678Z'),
    key: signer.key,
    salt: Buffer.from('01234567'),
    images: Array.from({ length: 30 }, (_, index) => ({ uuid: uuid(index), sha256s: [sha256Of(`file ${index}`)] })),
    files: [sha256Of('a layer')],
    parts: [
      {
        sha256: sha256Of('half'),
        sizeBytes: 10 * MIB + 5,
        ranges: [
          { startBytes: 0, endBytes: 2 * MIB + 100 },
          { startBytes: 5 * MIB + 100, endBytes: 10 * MIB + 5 },
        ],
      },
    ],
    wants: [
      { kind: 'image', uuid: uuid(77) },
      { kind: 'select', filters: ['name=~base os=smartos'], latest: 2 },
      { kind: 'select', filters: [], latest: undefined },
    ],
    ...changes,
  }
}

const format = (changes: Partial<Held> = {}) => formatInventory(held(changes), signer.sign)
const text = format()

function complaintAbout(typed: string): string {
  try {
    parseInventory(typed, trustedKeys)
  } catch (error) {
    if (isMirrorError(error, 'BUNDLE_INVALID', 'BUNDLE_UNTRUSTED')) return error.message
    throw error
  }
  return 'none'
}

const lineOf = (kind: string) => text.split('\n').find((line) => line.split(/\s+/)[2] === kind)!

describe('an inventory', () => {
  it('says what is held, in part too, and what is wanted', () => {
    const inventory = parseInventory(text, trustedKeys)
    expect(inventory).toMatchObject({
      site: 'closed side, Zürich',
      atMs: held().atMs,
      key: signer.key,
      isTrusted: true,
      wants: held().wants,
    })
    for (const { sha256s, uuid } of held().images) expect(inventory.hasImage(uuid as never, sha256s)).toBe(true)
    expect(inventory.hasImage(uuid(1), [sha256Of('file 2')])).toBe(false)
    expect(inventory.hasImage(uuid(99), [sha256Of('file 1')])).toBe(false)
    expect(inventory.hasFile(sha256Of('a layer'))).toBe(true)
    expect(inventory.hasFile(sha256Of('half'))).toBe(false)
    // What is no whole MiB is asked for again, except at the end.
    expect(inventory.partsOf(sha256Of('half'), 10 * MIB + 5)).toEqual([
      { startBytes: 0, endBytes: 2 * MIB },
      { startBytes: 6 * MIB, endBytes: 10 * MIB + 5 },
    ])
    expect(inventory.partsOf(sha256Of('half'), 3)).toEqual([{ startBytes: 0, endBytes: 3 }])
    expect(inventory.partsOf(sha256Of('other'), MIB)).toEqual([])
  })

  it('of an empty mirror is one too', () => {
    const inventory = parseInventory(format({ images: [], files: [], parts: [], wants: [] }), trustedKeys)
    expect(inventory.wants).toEqual([])
    expect(inventory.hasFile(sha256Of('a layer'))).toBe(false)
  })

  it('is the same text for the same contents in any order, and says nothing that names an image', () => {
    expect(format({ images: held().images.toReversed() })).toBe(text)
    expect(text).not.toContain(uuid(1))
    // Nor can two inventories be compared by who does not know what is in them.
    const wordsOf = (said: string) =>
      said
        .match(/(?<=\d image ).*(?= )/g)
        ?.join(' ')
        .split(' ') ?? []
    const others = wordsOf(format({ salt: Buffer.from('76543210') }))
    expect(others).toHaveLength(30)
    expect(wordsOf(text).filter((word) => others.includes(word))).toEqual([])
  })

  it('is named by the text that is signed, as sha256sum would say', () => {
    const unsigned = text.slice(0, text.indexOf('\n', text.lastIndexOf(' part ')) + 1)
    const { sha256 } = parseInventory(text, trustedKeys)
    expect(sha256).toBe(createHash('sha256').update(unsigned).digest('hex'))
  })

  it('can be printed: short lines of plain characters', () => {
    const lines = format({ site: 'site' }).split('\n')
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(100)
    expect(lines.join('')).toMatch(/^[ -~]*$/)
  })

  it('may be typed with small letters, look-alikes, other blanks, in any order, between other lines', () => {
    const typed = text.split('\n').map((line) => {
      const isOfWords = /^\s*\d+ (image|file|part|sign|salt) /.test(line)
      const loose = isOfWords ? line.toLowerCase().replaceAll('0', 'o').replaceAll('1', 'l') : line
      // The number stays a number.
      return isOfWords ? loose.replace(/^[\sol\d]+/, /^\s*\d+ /.exec(line)![0]).replaceAll(' ', '   ') : loose
    })
    const shuffled = ['\uFEFF  Page 1 of 2', ...typed.toReversed(), ''].join('\r\n')
    expect(parseInventory(shuffled, trustedKeys)).toMatchObject({
      isTrusted: true,
      sha256: parseInventory(text, trustedKeys).sha256,
    })
  })

  it('names the line in which one character is another', () => {
    const lines = text.split('\n')
    const place = lines.indexOf(lineOf('image'))
    const number = Number.parseInt(lines[place]!, 10)
    const line = lines[place]!
    for (let at = line.indexOf('image') + 6; at < line.length; at++) {
      if (line[at] === ' ') continue
      lines[place] = `${line.slice(0, at)}${line[at] === 'Z' ? 'Y' : 'Z'}${line.slice(at + 1)}`
      expect(complaintAbout(lines.join('\n'))).toContain(`line ${number} is not as printed`)
    }
  })

  it('names the lines that are missing', () => {
    const lines = text.split('\n').filter((line) => !/^\s+(7|9) /.test(line))
    expect(complaintAbout(lines.join('\n'))).toBe('the inventory: lines 7, 9 are missing')
  })

  it.each([
    ['it is cut before the signature', text.slice(0, text.indexOf(' part ')), 'cut: it has'],
    ['it is no inventory', 'hello', 'exactly one line that begins with inventory'],
    ['it is nothing', '', 'exactly one line'],
    ['half of the signature is missing', text.slice(0, text.lastIndexOf(' sign ') - 4), 'no signature'],
    ['it is endless', 'x'.repeat(16 * MIB + 1), 'longer than 16777216 characters'],
    ['a want means nothing', format({ wants: [{ kind: 'image', uuid: '../..' as never }] }), 'wants "../.."'],
    [
      'a filter means nothing',
      format({ wants: [{ kind: 'select', filters: ['nonsense'], latest: 1 }] }),
      'wants "newest 1 of nonsense", which means nothing',
    ],
    ['the site rings bells', format({ site: 'a\u0007' }), 'a site without a name that can be shown'],
    ['the date is none', text.replace(lineOf('at'), ''), 'line 3 is missing'],
    ['two people wrote it', text + format({ site: 'other' }), 'not as printed'],
  ])('is refused when %s', (_fault, typed, complaint) => {
    expect(complaintAbout(typed)).toContain(complaint)
  })

  it('is refused when it was changed by somebody who knows how to make the checks', () => {
    const [site, other] = [
      lineOf('site'),
      format({ site: 'evil' })
        .split('\n')
        .find((line) => line.includes(' site '))!,
    ]
    expect(complaintAbout(text.replace(site, other))).toContain('somebody has changed it')
  })

  it('is read, but not trusted, when nobody signed it, or somebody we do not know', () => {
    const unsigned = text.slice(0, text.search(/\s+\d+ sign /))
    expect(parseInventory(unsigned, trustedKeys)).toMatchObject({ key: undefined, isTrusted: false })
    expect(parseInventory(text, TrustedKeys.of([]))).toMatchObject({ key: signer.key, isTrusted: false })
  })

  it('takes some kilobytes for a thousand images', () => {
    const images = Array.from({ length: 1_000 }, (_, index) => ({ uuid: uuid(index), sha256s: [sha256Of(`${index}`)] }))
    expect(format({ images, wants: [] }).length).toBeLessThan(12 * 1024)
  })

  it('is never anything but an inventory or refused, whatever is done to it', () => {
    const signed = parseInventory(text, trustedKeys)
    const lines = text.split('\n')
    const mutation = fc.oneof(
      fc.record({ at: fc.nat(text.length), put: fc.string({ unit: 'binary', maxLength: 5 }), take: fc.nat(40) }),
      fc.record({ line: fc.nat(lines.length - 1), by: fc.nat(lines.length - 1) }),
    )
    const mutate = (
      typed: string,
      change: { at: number; put: string; take: number } | { line: number; by: number },
    ) => {
      if ('at' in change) return typed.slice(0, change.at) + change.put + typed.slice(change.at + change.take)
      return typed.replace(lines[change.line]!, () => lines[change.by]!)
    }
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
        const typed = mutations.reduce(mutate, text)
        // Signed: so what passes says what was signed, or is signed by nobody.
        if (complaintAbout(typed) !== 'none') return
        const inventory = parseInventory(typed, trustedKeys)
        expect(!inventory.isTrusted || inventory.sha256 === signed.sha256).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it.each([
    ['blanks', `1 a${' '.repeat(8 * MIB)}b`],
    ['wrong lines', Array.from({ length: 100_000 }, (_, index) => `${index + 1} image AAAA BBBB`).join('\n')],
    ['digits', '9'.repeat(8 * MIB)],
    ['far numbers', '9999999 site a 0000\n'.repeat(100_000)],
  ])('is refused in short time when it is made of %s', (_kind, typed) => {
    const startMs = performance.now()
    expect(complaintAbout(typed)).not.toBe('none')
    expect(performance.now() - startMs).toBeLessThan(5_000)
  })
})
