import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FieldFailure } from '../../src/errors.js'
import type { Manifest } from '../../src/images/manifest.js'
import { compareByPublication, selectImages } from '../../src/images/match-query.js'
import { parseListQuery } from '../../src/images/parse-list-query.js'
import { NOBODY, type Viewer } from '../../src/images/viewer.js'
import type { JsonObject } from '../../src/parts/json-object.js'
import { vectors } from '../support/vectors.js'
import { image, parsed, uuid, v2 } from './manifests.js'

interface ListVectors {
  readonly images: readonly JsonObject[]
  readonly requests: readonly ListRequest[]
}

interface ListRequest {
  readonly request: string
  readonly auth: boolean
  readonly status: number | null
  readonly uuids?: readonly number[]
  readonly body?: { readonly code: string; readonly message: string; readonly errors?: readonly FieldFailure[] }
}

/** Where we answer otherwise, with what, and why. */
const MENDED = new Map<
  string,
  { readonly uuids: number[]; readonly why: string } | { readonly field: string; readonly why: string }
>([
  ['GET /images?sort=published_at.desc&limit=2', { uuids: [5, 4], why: 'the reference cuts before it sorts' }],
  [
    'GET /images?marker=aaaaaaaa-0000-4000-8000-000000000003&state=all',
    { uuids: [3, 4, 5, 6, 8], why: 'what was never published comes before every marker' },
  ],
  ['GET /images?limit=abc', { field: 'limit', why: 'the reference calls the field "state"' }],
  ['GET /images?public=maybe', { field: 'public', why: 'the reference dies' }],
  ['GET /images?billing_tag=xxl', { uuids: [5], why: 'the reference dies' }],
  ['GET /images?billing_tag=xxl&billing_tag=gold', { uuids: [5], why: 'the reference dies' }],
])

const CODES = new Map([
  ['InvalidParameter', 'QUERY_INVALID'],
  ['ResourceNotFound', 'IMAGE_UNKNOWN'],
  ['UnauthorizedError', 'UNAUTHORIZED'],
])

const { images: raw, requests } = vectors<ListVectors>('imgapiList')
const images = raw.map((each) => parsed({ ...each, billing_tags: each._billing_tags }).statement.manifest)

/** As in public mode. */
const ANYBODY: Viewer = { isKnown: false, seesPrivate: true }
const USER: Viewer = { isKnown: true, seesPrivate: true }

function select(list: readonly Manifest[], query: string, viewer = ANYBODY): Manifest[] {
  return selectImages(list, parseListQuery(new URLSearchParams(query), viewer), (wanted) =>
    list.find((each) => each.uuid === wanted),
  )
}

function numbers(list: readonly Manifest[]): number[] {
  return list.map((each) => Number(each.uuid.slice(-12)))
}

describe('a list, as sdc-imgapi answers it', () => {
  const queryOf = ({ request }: ListRequest) => request.split('?')[1] ?? ''
  const answered = requests.filter(({ request, uuids }) => uuids && !MENDED.has(request))
  const refused = requests.filter(({ request, body }) => body && !MENDED.has(request))

  it.each(answered)('$request, with auth: $auth', (vector) => {
    expect(numbers(select(images, queryOf(vector), vector.auth ? USER : ANYBODY))).toEqual(vector.uuids)
  })

  it.each(refused)('$request is refused', (vector) => {
    const { code, message, errors } = vector.body!
    const failure = { code: CODES.get(code), message, fields: errors }
    const viewer = vector.auth ? USER : ANYBODY
    expect(() => select(images, queryOf(vector), viewer)).toThrow(expect.objectContaining(failure))
  })

  it.each([...MENDED])('%s is answered better: $why', (request, better) => {
    const vector = requests.find((each) => each.request === request)!
    const query = queryOf(vector)
    const viewer = vector.auth ? USER : ANYBODY
    if ('uuids' in better) expect(numbers(select(images, query, viewer))).toEqual(better.uuids)
    else
      expect(() => select(images, query)).toThrow(
        expect.objectContaining({ fields: [{ field: better.field, code: 'Invalid' }] }),
      )
  })

  it('leaves no request of the vectors out', () => {
    expect(answered.length + refused.length + MENDED.size).toBe(requests.length)
  })
})

describe('a list', () => {
  const dated = (number: number, published_at: string) => image({ uuid: uuid(number), published_at })

  it('is ordered by instant, then uuid, however it came', () => {
    const list = [
      dated(4, '2013-01-02T00:00:00Z'),
      dated(3, '2013-01-01T00:00:00.000Z'),
      dated(2, '2013-01-01T00:00:00Z'),
    ]
    expect(numbers(select(list, ''))).toEqual([2, 3, 4])
    expect(numbers(select(list, 'sort=published_at.desc'))).toEqual([4, 3, 2])
  })

  it('begins at a marker among equal dates, and goes back from it when descending', () => {
    const list = [1, 2, 3, 4].map((number) =>
      dated(number, number % 2 ? '2013-01-01T00:00:00Z' : '2013-01-01T00:00:00.000Z'),
    )
    expect(numbers(select(list, `marker=${uuid(2)}`))).toEqual([2, 3, 4])
    expect(numbers(select(list, `marker=${uuid(2)}&sort=published_at.desc`))).toEqual([2, 1])
    expect(numbers(select(list, 'marker=2013-01-01T00:00:00Z'))).toEqual([1, 2, 3, 4])
    expect(numbers(select(list, 'marker=2013-01-01T00:00:00.001Z'))).toEqual([])
  })

  it('hides what is not public from who may not see it, as a marker too, whatever account they name', () => {
    const own = uuid(91)
    const list = [
      image({ uuid: uuid(1) }),
      image({ uuid: uuid(2), public: false, owner: own }),
      image({ uuid: uuid(3), public: false, acl: [own] }),
    ]
    for (const query of ['', 'public=false', `account=${own}`, `owner=${own}`, 'state=all']) {
      expect(numbers(select(list, query, NOBODY)).filter((number) => number !== 1)).toEqual([])
    }
    expect(() => select(list, `marker=${uuid(2)}`, NOBODY)).toThrow(`image ${uuid(2)} not found`)
    expect(numbers(select(list, 'public=false', USER))).toEqual([2, 3])
    expect(numbers(select(list, `account=${own}`, USER))).toEqual([1, 2, 3])
    expect(numbers(select(list, `account=${uuid(92)}`, USER))).toEqual([1])
  })

  it('shows an account what is activated only, but for its own', () => {
    const own = uuid(91)
    const list = [
      image({ uuid: uuid(1), owner: own, state: 'unactivated', published_at: undefined, files: [] }),
      image({ uuid: uuid(2), state: 'unactivated', published_at: undefined, files: [] }),
      image({ uuid: uuid(3), state: 'disabled', disabled: true }),
    ]
    expect(numbers(select(list, `account=${own}&state=all`, USER))).toEqual([1, 3])
  })

  it('refuses an unknown marker also when nothing would be found', () => {
    expect(() => select(images, `state=disabled&marker=${uuid(99)}`)).toThrow(`image ${uuid(99)} not found`)
  })

  it('finds tags by the text of their value, and long or nested ones as if empty', () => {
    const tags = { long: 'x'.repeat(101), none: '', 'a"b': 'é', list: [1], constructor: 'own', mention: 'valueOf' }
    const list = [image({ tags })]
    for (const found of ['tag.long=', 'tag.none=', 'tag.a"b=é', 'tag.list=', 'tag.constructor=own']) {
      expect(numbers(select(list, found))).toEqual([1])
    }
    for (const missed of [`tag.long=${tags.long}`, 'tag.list=1', 'tag.valueOf=', 'tag.other=']) {
      expect(select(list, missed)).toEqual([])
    }
  })

  it('does not take another field for a billing tag', () => {
    expect(select([image({ billing_tags: ['a'] })], 'billing_tag=base')).toEqual([])
  })

  it('shows an account its own images, public ones, and those that name it', () => {
    const [own, friend, stranger] = [uuid(101), uuid(102), uuid(103)]
    const list = [
      image({ uuid: uuid(1), owner: own, public: false }),
      image({ uuid: uuid(2), owner: friend, public: false, acl: [own] }),
      image({ uuid: uuid(3), owner: friend, public: false, acl: [stranger] }),
      image({ uuid: uuid(4), owner: friend }),
    ]
    expect(numbers(select(list, `account=${own}`))).toEqual([1, 2, 4])
    expect(numbers(select(list, `account=${own}&owner=${own}`))).toEqual([1])
    expect(numbers(select(list, `account=${own}&owner=${friend}`))).toEqual([2, 4])
  })

  it('hides every state but active', () => {
    const list = ['active', 'disabled', 'unactivated', 'creating', 'failed'].map((state, index) =>
      image({ uuid: uuid(index), state }),
    )
    expect(numbers(select(list, 'state=all'))).toEqual([0])
    for (const state of ['disabled', 'unactivated', 'creating', 'failed'])
      expect(select(list, `state=${state}`)).toEqual([])
  })

  it('leaves the list it was given as it was', () => {
    const list = [dated(2, '2013-01-02T00:00:00Z'), dated(1, '2013-01-01T00:00:00Z')]
    select(list, 'sort=published_at.desc')
    expect(numbers(list)).toEqual([2, 1])
  })
})

describe('the order of publication', () => {
  const published = fc.constantFrom(
    undefined,
    '2013-01-01T00:00:00Z',
    '2013-01-01T00:00:00.000Z',
    '2013-01-01T00:00:00.001Z',
    '2014-01-01T00:00:00Z',
  )
  const anyImage = fc
    .tuple(fc.nat(9999), published)
    .map(([number, published_at]) =>
      image({ uuid: uuid(number), published_at, state: published_at ? 'active' : 'unactivated' }),
    )

  it('is that of the instants, however they are written, and among equals that of the uuids', () => {
    const keyOf = ({ publishedAt, uuid: id }: Manifest) => `${publishedAt ? Date.parse(publishedAt) : ''} ${id}`
    fc.assert(
      fc.property(anyImage, anyImage, (left, right) => {
        const [leftKey, rightKey] = [keyOf(left), keyOf(right)]
        expect(Math.sign(compareByPublication(left, right))).toBe(leftKey < rightKey ? -1 : Number(leftKey > rightKey))
      }),
    )
  })

  it('puts first what was never published', () => {
    const never = image({ uuid: uuid(9), state: 'unactivated', published_at: undefined })
    expect(compareByPublication(never, image())).toBeLessThan(0)
  })

  it.each(['', 'sort=published_at.desc&'])(
    'lets imgadm page through any list and meet each image once (%s)',
    (sort) => {
      const date = published.filter((each) => each !== undefined)
      const anyList = fc.uniqueArray(fc.tuple(fc.nat(9999), date), { selector: ([number]) => number, maxLength: 40 })
      fc.assert(
        fc.property(anyList, fc.integer({ min: 2, max: 7 }), (entries, limit) => {
          const list = entries.map(([number, published_at]) => image({ ...v2(), uuid: uuid(number), published_at }))
          const seen: Manifest[] = []
          for (let page = select(list, `${sort}limit=${limit}`); page.length > 0; ) {
            seen.push(...page)
            const last = page.at(-1)!.uuid
            page = select(list, `${sort}marker=${last}&limit=${limit}`)
            expect(page.shift()?.uuid).toBe(last)
          }
          expect(numbers(seen)).toEqual(numbers(select(list, sort)))
          expect(new Set(numbers(seen))).toEqual(new Set(entries.map(([number]) => number)))
        }),
      )
    },
  )
})
