import { describe, expect, it } from 'vitest'
import type { Uuid } from '../../src/images/uuid.js'
import { fileUrls } from '../../src/upstream/dsapi-file-urls.js'

const list = 'http://host/datasets'
const uuid = '00000001-0000-4000-8000-000000000000' as Uuid
const below = `${list}/${uuid}`
const isAllowed = (url: URL) => ['http://host', 'https://cdn.example.com'].includes(url.origin)
const urlsOf = (told: unknown) => fileUrls(list, uuid, JSON.stringify(told), isAllowed).map(({ href }) => href)

describe('where a DSAPI file may be', () => {
  it.each([
    ['its url, then its path', { url: 'http://host/f.gz', path: 'p.gz' }, ['http://host/f.gz', `${below}/p.gz`]],
    [
      'a listed host',
      { url: 'https://cdn.example.com/f?x=1#y', path: 'p' },
      ['https://cdn.example.com/f?x=1', `${below}/p`],
    ],
    ['not another host', { url: 'http://elsewhere/f.gz', path: 'p.gz' }, [`${below}/p.gz`]],
    ['not another port', { url: 'http://host:81/f.gz', path: 'p.gz' }, [`${below}/p.gz`]],
    ['not another scheme', { url: 'https://host/f.gz', path: 'p.gz' }, [`${below}/p.gz`]],
    ['nothing but http', { url: 'ftp://host/f.gz', path: 'p.gz' }, [`${below}/p.gz`]],
    ['no other host by a trick', { url: '//elsewhere/f', path: 'p' }, [`${below}/p`]],
    ['no other host by another trick', { url: '\\\\elsewhere/f', path: 'p' }, [`${below}/p`]],
    ['no credentials of theirs', { url: 'http://eve:pw@host/f' }, ['http://host/f']],
    ['an unencoded name', { url: 'http://host/my file.gz' }, ['http://host/my%20file.gz']],
    ['a placeholder', { url: '-automatic-', path: 'p.gz' }, [`${below}/p.gz`]],
    ['a url below the list', { url: './x/f.gz' }, [`${list}/x/f.gz`]],
    ['a url from the root', { url: '/f.gz' }, ['http://host/f.gz']],
    ['once, when both say the same', { url: `${below}/p.gz`, path: 'p.gz' }, [`${below}/p.gz`]],
    ['a path of several segments', { path: 'a b/c?d#e%2f/ü' }, [`${below}/a%20b/c%3Fd%23e%252f/%C3%BC`]],
    ['a path that only looks like climbing', { path: '%2e%2e/..%2f..' }, [`${below}/%252e%252e/..%252f..`]],
    ['nothing of both', {}, []],
    ['nothing of empty ones', { url: '', path: '' }, []],
    ['nothing of numbers', { url: 1, path: ['a'] }, []],
    ['nothing too long', { path: 'x'.repeat(5000) }, []],
  ])('%s', (_what, told, urls) => expect(urlsOf(told)).toEqual(urls))

  it.each(['..', '.', 'a/../b', '../a', '/etc/passwd', 'a//b', 'a/', 'a\\..\\b', 'a\0b', '\ud800'])(
    'no path that is %j',
    (path) => expect(urlsOf({ path })).toEqual([]),
  )
})
