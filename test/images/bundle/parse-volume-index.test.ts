import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import { pieceName, volumeDirectory } from '../../../src/images/bundle/bundle-names.js'
import { formatVolumeIndex } from '../../../src/images/bundle/format-volume-index.js'
import { parseVolumeIndex } from '../../../src/images/bundle/parse-volume-index.js'
import { uuid } from '../manifests.js'
import { MIB, sha256Of, volumeIndex, withChange } from './bundles.js'

const told = JSON.parse(formatVolumeIndex(volumeIndex()).toString('utf8'))

/** What is said of the sample index once the value at `path` is another one. */
function complaintAfter(path: string, value: unknown): string {
  try {
    parseVolumeIndex(Buffer.from(JSON.stringify(withChange(told, path, value))))
  } catch (error) {
    if (isMirrorError(error, 'BUNDLE_INVALID')) return error.message
    throw error
  }
  return 'none'
}

describe('volume.json', () => {
  it('is read as it was written, and the same bytes again', () => {
    const bytes = formatVolumeIndex(volumeIndex())
    expect(parseVolumeIndex(bytes)).toEqual(volumeIndex())
    expect(formatVolumeIndex(parseVolumeIndex(bytes)).equals(bytes)).toBe(true)
    const blocks = { ...volumeIndex().blocks, sizeBytes: 32 * 68 }
    const withoutParity = volumeIndex({ parity: undefined, blocks })
    expect(parseVolumeIndex(formatVolumeIndex(withoutParity))).toEqual(withoutParity)
  })

  it.each<[string, string, unknown, string]>([
    ['is of something else', 'format', 'imgapi-mirror bundle', 'format is'],
    ['is behind the last', 'volume', 3, 'volume is 3; right is a whole number from 1 to 2'],
    ['lists a file twice', 'files.7', told.files[6], 'files[7].path comes twice'],
    ['lists files in another order', 'files', told.files.toReversed(), 'not in the order of paths'],
    ['has another number of blocks', 'blocks.count', 67, 'right is a whole number from 68 to 68'],
    ['has blocks of an odd size', 'blocks.blockBytes', 65_535, 'a power of two'],
    ['has blocks of no size', 'blocks.blockBytes', 0, 'blocks.blockBytes is 0'],
    ['has too few hashes', 'blocks.sizeBytes', 32 * 68, 'blocks.sizeBytes'],
    ['has more shards than the code can', 'parity.parityShards', 237, 'parity.parityShards'],
    ['has groups without blocks', 'parity.dataShards', 34, 'right is 2, as 68'],
    ['has parity elsewhere', 'parity.files.0.path', 'parity/../x.rs', 'parity.files[0].path'],
    ['lacks parity', 'parity.files', told.parity.files.slice(1), 'right is 524288'],
    ['lies about the size of a piece', 'files.3.sizeBytes', 1, 'is named as a piece of another size than its 1 bytes'],
    ['lies about the hash of a file', 'files.2.sha256', sha256Of('x'), 'otherwise than its'],
    ['lies about the hash of an object', 'files.1.sha256', sha256Of('x'), 'otherwise than its'],
    [
      'is larger than any medium',
      'files',
      [...Array(9).keys()].map((n) => ({
        path: `manifests/${uuid(n)}.json`,
        sizeBytes: 2 ** 47,
        sha256: sha256Of(''),
      })),
      'larger than any medium',
    ],
  ])('is refused when it %s', (_fault, path, value, complaint) =>
    expect(complaintAfter(path, value)).toContain(complaint),
  )

  it.each([
    '../etc/passwd',
    'files/../../etc/passwd',
    '/etc/passwd',
    'C:\\windows',
    'files\\x',
    '.',
    '..',
    '',
    'files/',
    'files//x',
    'files/a\0b',
    'files/a\nb',
    'con',
    'NUL.txt',
    'readme.txt',
    'README.TXT',
    'README.txt ',
    'README.txt.',
    'RE\u0041\u030ADME.txt',
    `FILES/$sha256Of('')`,
    `files/$sha256Of('').toUpperCase()`,
    `files/$sha256Of('').00-0`,
    `files/$sha256Of('').0-1e3`,
    `files/$sha256Of('').0-99999999999999999999`,
    `files/$sha256Of('')/x`,
    `manifests/${uuid(1)}.JSON`,
    `manifests/${uuid(1)}.json/x`,
    `icons/${uuid(1)}.svg`,
    'bundle.json',
    'volume.json',
    'volume.json.minisig',
    'parity/0001.rs',
    'copies/bundle.json',
    '\u202Efiles',
    '.hidden',
    'lost+found',
  ])('has no file %j', (path) =>
    expect(complaintAfter('files', [{ path, sizeBytes: 0, sha256: sha256Of('') }])).toContain('files[0].path'),
  )

  it('cannot have two files that are one where case or composition do not count', () => {
    const folded = volumeIndex().files.map(({ path }) => path.normalize('NFKC').toLowerCase())
    expect(new Set(folded).size).toBe(folded.length)
    expect(complaintAfter('files', [{ ...told.files[0], path: 'README.TXT' }, ...told.files])).toContain('no path')
  })
})

describe('names on a medium', () => {
  it('are those of the format', () => {
    const id = `a1b2c3d4e5f6${'0'.repeat(52)}`
    expect(volumeDirectory(id, 1, 1)).toBe('imgapi-a1b2c3d4e5f6')
    expect(volumeDirectory(id, 1, 3)).toBe('imgapi-a1b2c3d4e5f6-v01of03')
    expect(volumeDirectory(id, 7, 120)).toBe('imgapi-a1b2c3d4e5f6-v007of120')
    expect(pieceName('ab', 0, 5, 5)).toBe('files/ab')
    expect(pieceName('ab', 0, MIB, 2 * MIB)).toBe('files/ab.0-1048576')
  })
})
