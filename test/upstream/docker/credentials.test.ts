import { describe, expect, it } from 'vitest'
import { credentialsFrom } from '../../../src/upstream/docker/credentials.js'

const auth = Buffer.from('me:se:cret').toString('base64')
const password = { kind: 'password', username: 'me', password: 'se:cret' }
const of = (config: unknown, host = 'quay.io') => credentialsFrom(JSON.stringify(config), host)

describe("Docker's config.json", () => {
  it.each([
    ['auth', { auths: { 'quay.io': { auth } } }],
    ['a url', { auths: { 'https://quay.io/v2/': { auth } } }],
    ['name and password', { auths: { 'quay.io': { username: 'me', password: 'se:cret' } } }],
    ['an entry beside a store of which nothing is needed', { credsStore: 'desktop', auths: { 'quay.io': { auth } } }],
  ])('gives credentials: %s', (_how, config) => {
    expect(of(config)).toEqual(password)
  })

  it('has those of Docker Hub under its old address', () => {
    expect(of({ auths: { 'https://index.docker.io/v1/': { auth } } }, 'docker.io')).toEqual(password)
  })

  it('may have an identity token instead of a password', () => {
    const entry = { auth: Buffer.from('<token>:').toString('base64'), identitytoken: 'abc' }
    expect(of({ auths: { 'quay.io': entry } })).toEqual({ kind: 'identity', username: '<token>', identityToken: 'abc' })
  })

  it.each([
    ['a helper', { credHelpers: { 'quay.io': 'ecr-login' } }, /docker-credential-ecr-login, which we do not run/],
    ['a store', { credsStore: 'desktop', auths: { 'quay.io': {} } }, /docker-credential-desktop/],
    ['somebody else', { auths: { 'ghcr.io': { auth } } }, /no credentials for quay.io; it has some for ghcr.io/],
    ['another port', { auths: { 'quay.io:5000': { auth } } }, /no credentials for quay.io/],
    ['an auth that is none', { auths: { 'quay.io': { auth: '%%%' } } }, /no credentials for quay.io/],
    ['no JSON object', 'a text', /not the JSON/],
  ])('is refused where it has %s, without telling secrets', (_what, config, complaint) => {
    expect(() => of(config)).toThrow(complaint)
    expect(() => of(config)).not.toThrow(/se:cret|bWU6/)
  })
})
