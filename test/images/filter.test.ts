import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../src/errors.js'
import { matchesFilter, parseFilter } from '../../src/images/filter.js'
import type { Manifest } from '../../src/images/manifest.js'
import { image, SHA1, uuid } from './manifests.js'

const sample = image({
  origin: uuid(2),
  description: 'A small image',
  published_at: '2020-03-04T05:06:07Z',
  files: [{ sha1: SHA1, size: 3 * 1024 ** 3, compression: 'gzip' }],
  requirements: {
    brand: 'lx',
    min_ram: 1024,
    min_platform: { '7.0': '20150101T000000Z' },
    networks: [{ name: 'net0', description: 'a' }],
  },
  tags: {
    role: 'os',
    'docker:id': 'x',
    'com.example.a': 'dotted',
    n: 5,
    on: true,
    half: '5.25',
    none: null,
  },
  billing_tags: ['xxl', 'gold'],
})

const matches = (filter: string, manifest: Manifest = sample) => matchesFilter(parseFilter(filter), manifest)

describe('a filter', () => {
  it.each([
    'name=base',
    'name=~as',
    'name=~base os!=linux type=zone-dataset requirements.brand=lx tags.role=os published_at>=2020-01-01 files.size<=10GiB',
    '  name=base\t os=smartos ',
    'version!~2.',
    'public=true',
    `uuid=${uuid(1)}`,
    `origin=${uuid(2)}`,
    'origin=*',
    'homepage!=*',
    'homepage!=x',
    'homepage!~x',
    'description="A small image"',
    "description='A small image'",
    'description=~"small im"',
    'tags.docker:id=x',
    'tags.com.example.a=dotted',
    'tags.on=true',
    'tags.n>=5',
    'tags.n<=5',
    'tags.half>=5.25',
    'tags.half<=5.25',
    'tags.n<=5.25',
    'tags.none!=*',
    'requirements.networks=~net0',
    'billing_tags=gold',
    'requirements.networks.name=net0',
    'requirements.min_ram<=1GiB',
    'requirements.min_platform.7.0<=2015-01-01',
    'requirements.min_platform.7.0>=20140101T000000Z',
    'published_at<=2020-03-04T05:06:07Z',
    'published_at>=2020-03-04T05:06',
    'files.size>=3GiB',
    'files.compression=gzip',
    'disabled=false',
  ])('holds: %s', (filter) => {
    expect(matches(filter)).toBe(true)
  })

  it.each([
    'name=Base',
    'name=bas',
    'name!=base',
    'name!~as',
    'name=base os=linux',
    'homepage=x',
    'homepage=*',
    'homepage=~x',
    'homepage>=1',
    'origin!=*',
    'billing_tags!=gold',
    'tags.role.inner=os',
    'tags.constructor=*',
    'tags.none=*',
    'tags.none.inner=*',
    'tags.n>=5.25',
    'files.size<=2GiB',
    'published_at>=2020-03-05',
    'name>=2020-01-01',
    'name<=10',
    'requirements.min_platform.7.0<=2014-12-31',
  ])('does not hold: %s', (filter) => {
    expect(matches(filter)).toBe(false)
  })

  it('reads the manifest only when it has to', () => {
    const unreadable = { ...sample, json: 'unreadable' }
    expect(matches('name=base os=smartos published_at>=2020-01-01', unreadable)).toBe(true)
    expect(() => matches('tags.role=os', unreadable)).toThrow()
  })

  it.each([
    ['', 'at least one condition'],
    ['name', 'at "name": this is no condition; write a field, one of != =~ !~ >= <= =, and a value'],
    ['name = base', 'this is no condition'],
    ['name=a b', 'at "b": this is no condition'],
    ['name="a', 'at "name="a": this is no condition'],
    ['name="a"b', 'this is no condition'],
    ['nmae=base', 'nmae=base: a manifest has no field nmae; did you mean name?'],
    ['qqqqqqqq=1', 'it has v, uuid'],
    ['tags..a=1', 'has a dot too many'],
    ['files.size<=10 GiB', 'at "GiB"'],
    ['files.size<=10GB2', 'cannot be compared with; write a number, a size such as 10GiB or a date such as 2020-01-01'],
    ['published_at>=soon', '"soon" cannot be compared'],
    ['x'.repeat(5000), 'the longest is 4096'],
  ])('%s is refused, saying what is right', (filter, complaint) => {
    expect(() => parseFilter(filter)).toThrow(complaint)
  })

  it('names the condition that is wrong, without the blanks around it', () => {
    expect(() => parseFilter('nmae=base   os=smartos')).toThrow(/^nmae=base: /)
  })

  it('may be 4096 characters long', () => {
    expect(matches(`name!=${'x'.repeat(4096 - 'name!='.length)}`)).toBe(true)
  })

  it('shows 60 characters of what is no condition', () => {
    const [shown, cut] = ['='.repeat(60), '='.repeat(61)]
    expect(() => parseFilter(shown)).toThrow(`at "${shown}":`)
    expect(() => parseFilter(cut)).toThrow(`at "${shown}...":`)
  })

  it('is refused or understood, whatever is written', () => {
    const piece = fc.constantFrom(
      'name',
      'tags.a',
      '=',
      '!=',
      '>=',
      '~',
      '"',
      "'",
      ' ',
      '*',
      '10GiB',
      '2020-01-01',
      'é',
      '.',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        try {
          expect(typeof matches(pieces.join(''))).toBe('boolean')
        } catch (error) {
          expect(error).toSatisfy((failure) => isMirrorError(failure, 'CONFIG_INVALID'))
        }
      }),
    )
  })
})
