import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../src/errors.js'
import { parseListQuery } from '../../src/images/parse-list-query.js'
import { NOBODY } from '../../src/images/viewer.js'
import { uuid } from './manifests.js'

const parse = (query: string) => parseListQuery(new URLSearchParams(query), NOBODY)

const EVERYTHING_ACTIVE = {
  viewer: NOBODY,
  hasAdminFields: false,
  state: 'active',
  name: undefined,
  version: undefined,
  os: undefined,
  owner: undefined,
  type: undefined,
  isPublic: undefined,
  tags: [],
  billingTags: [],
  account: undefined,
  limit: undefined,
  marker: undefined,
  isDescending: false,
  isEmpty: false,
}

describe('parseListQuery', () => {
  it.each([
    '',
    'state=',
    'limit=0',
    'limit=',
    'marker=',
    'sort=',
    'sort=published_at',
    'account=',
    'bogus=1',
    'inclAdminFields=false',
  ])('takes "%s" for everything active', (query) => {
    expect(parse(query)).toEqual(EVERYTHING_ACTIVE)
  })

  it.each([
    ['name=~base', { name: { text: 'base', isSubstring: true } }],
    ['name=', { name: { text: '', isSubstring: false } }],
    ['version=20.04%2B1', { version: { text: '20.04+1', isSubstring: false } }],
    ['os=linux&owner=x&state=all', { os: 'linux', owner: 'x', state: 'all' }],
    ['type=!zvol', { type: { value: 'zvol', isExcluded: true } }],
    ['public=false', { isPublic: false }],
    [
      'tag.docker:id=a=b&tag.n=5',
      {
        tags: [
          { key: 'docker:id', value: 'a=b' },
          { key: 'n', value: '5' },
        ],
      },
    ],
    ['billing_tag=a&billing_tag=b', { billingTags: ['a', 'b'] }],
    ['limit=1e1', { limit: 10 }],
    ['limit=1.5', { limit: 1 }],
    ['limit=-1', { limit: -1 }],
    [`marker=${uuid(1)}`, { marker: { uuid: uuid(1) } }],
    ['marker=2013-02-15', { marker: { atMs: Date.UTC(2013, 1, 15) } }],
    ['sort=published_at.ASC', { isDescending: false }],
    ['sort=published_at.sideways', { isDescending: true }],
    ['name=a&name=a', { isEmpty: true }],
    ['tag.a=1&tag.a=1', { isEmpty: false }],
  ])('reads %s', (query, asked) => {
    expect(parse(query)).toMatchObject(asked)
  })

  it.each([
    ['state=bogus', 'state', 'invalid state: "bogus"'],
    ['state=active&state=active', 'state', 'invalid state: "active,active"'],
    ['limit=abc', 'limit', 'invalid limit: "abc"'],
    ['limit=1&limit=1', 'limit', 'invalid limit: "1,1"'],
    ['public=maybe', 'public', 'invalid value for "public" param: "maybe" is not a boolean'],
    ['sort=name.desc', 'sort', `invalid 'sort': not a valid sorting attribute: 'name'`],
    ['marker=xyz', 'marker', 'invalid value for "marker" param: "xyz" is not a UUID or date string'],
    [
      `marker=${uuid(1).toUpperCase()}`,
      'marker',
      `invalid value for "marker" param: "${uuid(1).toUpperCase()}" is not a UUID or date string`,
    ],
    ['inclAdminFields=maybe', 'inclAdminFields', 'invalid value for "inclAdminFields" param: "maybe" is not a boolean'],
  ])('refuses %s, naming the field', (query, field, message) => {
    const failure = { code: 'QUERY_INVALID', message, fields: [{ field, code: 'Invalid' }] }
    expect(() => parse(query)).toThrow(expect.objectContaining(failure))
  })

  it('shows admin fields to nobody anonymous', () => {
    const message = 'Unauthorized (auth required to use "inclAdminFields" parameter)'
    expect(() => parse('inclAdminFields=true')).toThrow(expect.objectContaining({ code: 'UNAUTHORIZED', message }))
  })

  it('fails for no query in another way', () => {
    const parameter = fc.tuple(
      fc.constantFrom('state', 'limit', 'marker', 'sort', 'public', 'type', 'tag.a', 'inclAdminFields', 'billing_tag'),
      fc.string(),
    )
    fc.assert(
      fc.property(fc.array(parameter), (parameters) => {
        try {
          const { limit } = parseListQuery(new URLSearchParams(parameters), NOBODY)
          expect(limit).not.toBeNaN()
        } catch (error) {
          expect(error).toSatisfy((failure) => isMirrorError(failure, 'QUERY_INVALID', 'UNAUTHORIZED'))
        }
      }),
    )
  })
})
