import { describe, expect, it } from 'vitest'
import { parseChallenges } from '../../../src/upstream/docker/challenges.js'

const read = (...headers: string[]) =>
  parseChallenges(headers).map(({ parameters, scheme }) => [scheme, Object.fromEntries(parameters)])

describe('WWW-Authenticate', () => {
  it.each([
    [
      'Docker Hub',
      [
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull"',
      ],
      [
        [
          'bearer',
          {
            realm: 'https://auth.docker.io/token',
            service: 'registry.docker.io',
            scope: 'repository:library/busybox:pull',
          },
        ],
      ],
    ],
    ['any case, any blanks', ['BASIC  Realm = "a b" , x=y'], [['basic', { realm: 'a b', x: 'y' }]]],
    [
      'commas and quotes inside of quotes',
      ['Bearer realm="a,\\"b\\"",scope="r:a:pull,push"'],
      [['bearer', { realm: 'a,"b"', scope: 'r:a:pull,push' }]],
    ],
    [
      'several in one header',
      ['Basic realm="x", Bearer realm="y",service="z"'],
      [
        ['basic', { realm: 'x' }],
        ['bearer', { realm: 'y', service: 'z' }],
      ],
    ],
    [
      'several headers',
      ['Basic realm=x', 'Bearer realm=y'],
      [
        ['basic', { realm: 'x' }],
        ['bearer', { realm: 'y' }],
      ],
    ],
    [
      'a scheme alone, and one with a word',
      ['Negotiate, NTLM abc==, Basic realm=x'],
      [
        ['negotiate', {}],
        ['ntlm', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    ['empty elements', [',, Basic realm=x ,,'], [['basic', { realm: 'x' }]]],
  ])('is understood: %s', (_what, headers, challenges) => {
    expect(read(...headers)).toEqual(challenges)
  })

  it.each([
    ['an open quote', 'Bearer realm="https://a'],
    ['a name twice', 'Bearer realm="https://a",realm="https://b"'],
    ['something behind a quote', 'Bearer realm="https://a"evil'],
    ['a parameter without a scheme', 'realm="https://a"'],
    ['a slash for a scheme', 'Bearer/realm="https://a"'],
    ['endless length', `Bearer realm="${'x'.repeat(10_000)}"`],
    ['nothing', ''],
  ])('is not half believed: %s', (_what, header) => {
    expect(read(header)).toEqual([])
  })

  it('keeps what is whole before what is broken', () => {
    expect(read('Basic realm=x, Bearer realm="')).toEqual([['basic', { realm: 'x' }]])
  })
})
