import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { formatTokenHash, hashToken, makeToken } from '../../../src/parts/access-token.js'
import { FakeClock } from '../../support/fake-clock.js'
import { serveMirror } from '../../support/imgapi-server.js'
import { wireOf } from '../../support/memory-mirror.js'
import { makeSshKey, signedDate } from '../../support/ssh-keys.js'
import { ALICE, authenticatorOf, basic, type GivenUser, HASH_OF_GEHEIM } from '../../support/users.js'

const TOKEN = makeToken()
const BUILDER: GivenUser = { name: 'builder', tokenHash: formatTokenHash(hashToken(TOKEN)) }
const DATE = 'Mon, 05 Jan 2026 12:00:00 GMT'
const UUID = 'aaaaaaaa-0000-4000-8000-000000000001'
const PRIVATE = 'aaaaaaaa-0000-4000-8000-000000000002'

async function serve(
  users: readonly GivenUser[],
  { trustedProxies, ...options }: Parameters<typeof authenticatorOf>[1] & { trustedProxies?: readonly string[] } = {},
) {
  const authenticator = await authenticatorOf(users, options)
  const served = await serveMirror({}, { authenticator, pid: 4711, address: { trustedProxies } })
  served.mirror.add(wireOf(UUID, Buffer.from('bytes')), [Buffer.from('bytes')])
  served.mirror.add(wireOf(PRIVATE, Buffer.from('secret'), { public: false }), [Buffer.from('secret')])
  const ask = async (path: string, headers: Record<string, string> = {}, method = 'GET') => {
    const response = await fetch(served.url + path, { headers, method })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }
  const reload = (headers: Record<string, string>) => ask('/authkeys/reload', headers, 'POST')
  return { ...served, authenticator, ask, reload }
}

describe('what only users may do', () => {
  it.each([
    ['a password', basic('alice', 'geheim')],
    ['a token', { authorization: `Bearer ${TOKEN}` }],
    ['a token for a password', basic('builder', TOKEN)],
  ])('is done with %s', async (_what, headers) => {
    const { reload, ask } = await serve([ALICE, BUILDER])
    expect(await reload(headers)).toMatchObject({ status: 200, text: '{}' })
    const { user, pid } = JSON.parse((await ask('/ping', headers)).text)
    expect([pid, ['alice', 'builder'].includes(user)]).toEqual([4711, true])
  })

  it.each<[string, Record<string, string>]>([
    ['nothing', {}],
    ['a wrong password', basic('alice', 'Geheim')],
    ['an empty password', basic('alice', '')],
    ["somebody else's token", basic('alice', TOKEN)],
    ['a name that nobody has', basic('mallory', 'geheim')],
    ['a name of an object', basic('__proto__', 'geheim')],
    ['a password of a user without one', basic('builder', 'geheim')],
    ['no colon', { authorization: `Basic ${Buffer.from('alice').toString('base64')}` }],
    ['a long password', basic('alice', 'x'.repeat(2000))],
    ['a wrong token', { authorization: `Bearer ${makeToken()}` }],
    ['no token', { authorization: 'Bearer' }],
  ])('is not done with %s, and asked for as curl and skopeo know it', async (_what, headers) => {
    const { reload } = await serve([ALICE, BUILDER])
    const { status, headers: answered, text } = await reload(headers)
    expect(status).toBe(401)
    expect(JSON.parse(text)).toEqual({ code: 'UnauthorizedError', message: 'Unauthorized' })
    expect(answered.get('www-authenticate')).toBe('Basic realm="imgapi-mirror", charset="UTF-8"')
  })

  it('is for nobody while there are no users, and not for those who may only read', async () => {
    expect((await (await serve([])).reload(basic('alice', 'geheim'))).status).toBe(403)
    expect((await (await serve([{ ...ALICE, isReadOnly: true }])).reload(basic('alice', 'geheim'))).status).toBe(403)
  })

  it('works with curl -u', async () => {
    const { url } = await serve([ALICE])
    const curl = async (...args: string[]) =>
      (await promisify(execFile)('curl', ['-s', '-X', 'POST', `${url}/authkeys/reload`, ...args])).stdout
    expect(await curl('-u', 'alice:geheim')).toBe('{}')
    expect(await curl('--anyauth', '-u', 'alice:geheim')).toBe('{}')
    expect(await curl('-u', 'alice:falsch')).toContain('UnauthorizedError')
  })

  it('is done with a signature, up to 10 s with the same one', async () => {
    const key = makeSshKey()
    const clock = new FakeClock()
    const { reload } = await serve([{ name: 'alice', sshKeyFiles: ['a'] }], { clock, files: { a: key.line } })
    const signed = signedDate('alice', key, { algorithm: 'ed25519', date: DATE })
    expect((await reload(signed)).status).toBe(200)
    expect((await reload(signed)).status).toBe(200)
    const elsewhere = await serve([{ name: 'alice', sshKeyFiles: ['a'] }], {
      files: { a: key.line },
      trustedProxies: ['127.0.0.1'],
    })
    expect((await elsewhere.reload({ ...signed, 'x-forwarded-for': '192.0.2.1' })).status).toBe(200)
    expect((await elsewhere.reload({ ...signed, 'x-forwarded-for': '192.0.2.2' })).status).toBe(401)
    await clock.advance(10_001)
    expect(JSON.parse((await reload(signed)).text).message).toBe('signature was used before')
  })

  it('is done with new keys once they are read again, and with the old ones if the new are wrong', async () => {
    const [old, fresh] = [makeSshKey(), makeSshKey()]
    const files: Record<string, string> = { a: old.line }
    const { reload } = await serve([{ name: 'alice', sshKeyFiles: ['a'] }], { files })
    const by = (key: typeof old) => signedDate('alice', key, { algorithm: 'ed25519', date: DATE })
    files.a = 'garbage'
    expect(await reload(by(old))).toMatchObject({
      status: 500,
      text: expect.stringMatching(/all stays as it was.*alice/),
    })
    expect((await reload(by(fresh))).status).toBe(401)
    files.a = fresh.line
    expect((await reload(by(old))).status).toBe(200)
    expect((await reload(by(old))).status).toBe(401)
    expect((await reload(by(fresh))).status).toBe(200)
  })
})

describe('a password that was right', () => {
  it('is wrong as soon as another one has been read', async () => {
    const files: Record<string, string> = { secret: HASH_OF_GEHEIM }
    const { reload, ask } = await serve([{ name: 'alice', passwordFile: 'secret' }], { files })
    expect((await ask('/ping', basic('alice', 'geheim'))).status).toBe(200)
    files.secret = 'another'
    expect((await reload(basic('alice', 'geheim'))).status).toBe(200)
    expect((await ask('/ping', basic('alice', 'geheim'))).status).toBe(401)
    expect((await ask('/ping', basic('alice', 'another'))).status).toBe(200)
  })
})

describe('guessing', () => {
  it('by many at once is told to come again when too many passwords are being checked', async () => {
    const { ask } = await serve([ALICE], { trustedProxies: ['127.0.0.1'] })
    const guesses = Array.from({ length: 45 }, (_, place) =>
      ask('/ping', { ...basic(`nobody-${place}`, 'guess'), 'x-forwarded-for': `192.0.2.${place}` }),
    )
    const answers = await Promise.all(guesses)
    const crowded = answers.filter(({ status }) => status === 429)
    expect(crowded.length).toBeGreaterThan(0)
    for (const { headers } of crowded) expect(headers.get('retry-after')).toBe('1')
    expect(answers.filter(({ status }) => status === 401).length).toBeGreaterThanOrEqual(34)
  })

  it('ends after 20 wrong proofs from an address, for a while, and harms none who proved themselves', async () => {
    const clock = new FakeClock()
    const { ask } = await serve([ALICE, BUILDER], { clock })
    expect((await ask('/ping', basic('alice', 'geheim'))).status).toBe(200)
    for (let place = 0; place < 20; place += 1) {
      expect((await ask('/ping', { authorization: `Bearer ${makeToken()}` })).status).toBe(401)
    }
    const refused = await ask('/ping', basic('builder', 'guess'))
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('15')
    expect((await ask('/ping', { authorization: `Bearer ${makeToken()}` })).status).toBe(429)
    expect((await ask('/ping', basic('alice', 'geheim'))).status).toBe(200)
    expect((await ask('/ping', { authorization: `Bearer ${TOKEN}` })).status).toBe(200)
    await clock.advance(15_000)
    expect((await ask('/ping', basic('builder', 'guess'))).status).toBe(401)
  })

  it('ends after 50 wrong passwords for a name, from wherever they come', async () => {
    const { ask } = await serve([ALICE, BUILDER], { trustedProxies: ['127.0.0.1'] })
    const from = (place: number, name: string) =>
      ask('/ping', { ...basic(name, `guess ${place}`), 'x-forwarded-for': `192.0.2.${place}` })
    for (let place = 0; place < 50; place += 1) expect((await from(place, 'alice')).status).toBe(401)
    expect((await from(50, 'alice')).status).toBe(429)
    expect((await from(50, 'builder')).status).toBe(401)
  })

  it('counts for whom a trusted proxy names, and else for who is connected', async () => {
    for (const [trustedProxies, status] of [
      [['127.0.0.1'], 401],
      [[], 429],
    ] as const) {
      const { ask, log } = await serve([ALICE], { trustedProxies })
      const from = (address: string) =>
        ask('/ping', { authorization: `Bearer ${makeToken()}`, 'x-forwarded-for': address })
      for (let place = 0; place < 20; place += 1) expect((await from('192.0.2.1')).status).toBe(401)
      expect((await from('192.0.2.1')).status).toBe(429)
      expect((await from('192.0.2.2')).status).toBe(status)
      const requests = await log.requests(22)
      expect(requests.at(-1)?.facts.client).toBe(status === 401 ? '192.0.2.2' : '127.0.0.1')
    }
  })

  it('is no way to be many at once', async () => {
    const { reload } = await serve([ALICE])
    const guesses = Array.from({ length: 30 }, (_, place) => reload(basic('alice', `guess ${place}`)))
    const statuses = (await Promise.all(guesses)).map(({ status }) => status)
    expect(statuses.filter((status) => status === 401)).toHaveLength(20)
    expect(statuses.filter((status) => status === 429)).toHaveLength(10)
  })

  it('is not what a crowd with one right password does', async () => {
    const { reload } = await serve([ALICE])
    const answers = await Promise.all(Array.from({ length: 30 }, () => reload(basic('alice', 'geheim'))))
    expect(answers.every(({ status }) => status === 200)).toBe(true)
  })
})

describe('reading', () => {
  const IMAGE = `/images/${UUID}`
  const HIDDEN = `/images/${PRIVATE}`
  const WRONG = basic('alice', 'wrong')
  const RIGHT = basic('alice', 'geheim')

  it('is open, but a proof that is given must be right, whatever the protocol, except for files', async () => {
    const { ask } = await serve([ALICE])
    for (const path of ['/images', IMAGE, HIDDEN, '/ping', '/datasets', '/datasets/', `/datasets/${UUID}`, '/']) {
      expect((await ask(path)).status).toBe(200)
      expect((await ask(path, WRONG)).status).toBe(401)
      expect((await ask(path, RIGHT)).status).toBe(200)
    }
    for (const path of [`${IMAGE}/file`, `${IMAGE}/chunks`, `/datasets/${UUID}/base-1.0.0.zfs.gz`]) {
      expect((await ask(path, WRONG)).status, path).toBe(200)
    }
  })

  it('ignores proofs where there are no users', async () => {
    const { ask } = await serve([])
    expect((await ask(IMAGE, WRONG)).status).toBe(200)
  })

  it('is for users alone where it is so configured, whatever the protocol', async () => {
    const { ask } = await serve([ALICE], { read: 'users' })
    for (const path of [
      '/images',
      IMAGE,
      `${IMAGE}/file`,
      `${IMAGE}/chunks`,
      '/ping',
      '/datasets',
      `/datasets/${UUID}`,
    ]) {
      expect((await ask(path)).status, path).toBe(401)
      expect((await ask(path, RIGHT)).status, path).toBe(200)
    }
    const { headers } = await ask(`${IMAGE}/file`, RIGHT)
    expect(headers.get('cache-control')).toBe('private, max-age=86400, no-transform')
  })

  it('shows what is not public to users alone, in private mode, and to others not even that it is there', async () => {
    const { ask } = await serve([ALICE], { hidesPrivate: true })
    const unknown = '/images/aaaaaaaa-0000-4000-8000-000000000009'
    for (const rest of [
      '',
      '/file',
      '/file?index=7',
      '/icon',
      '/chunks',
      '?account=930896af-bf8c-48d4-885c-6573a94b1853',
    ]) {
      const [hidden, none] = [await ask(HIDDEN + rest), await ask(unknown + rest)]
      expect(hidden.status, rest).toBe(404)
      expect(hidden.text.replaceAll(PRIVATE, 'X')).toBe(none.text.replaceAll(unknown.slice(8), 'X'))
    }
    expect((await ask(`/datasets/${PRIVATE}`)).status).toBe(404)
    expect((await ask(`${IMAGE}/file`)).headers.get('cache-control')).toBe('public, max-age=86400, no-transform')
    expect((await ask(HIDDEN, RIGHT)).status).toBe(200)
    expect((await ask(`${HIDDEN}/file`, RIGHT)).text).toBe('secret')
    expect((await ask(`${HIDDEN}/file`, WRONG)).status).toBe(401)
  })
})

describe('the log', () => {
  it('tells who asked, and no proof, right or wrong, nor a name that nobody has', async () => {
    const { ask, log } = await serve([ALICE, BUILDER])
    await ask('/ping', basic('alice', 'geheim'))
    await ask('/ping', basic('alice', 'Wr0ngSecret'))
    await ask('/ping', basic('PasswordTypedAsName', 'x'))
    await ask('/ping', { authorization: `Bearer ${TOKEN}` })
    await ask('/ping', { authorization: 'Bearer WrongTokenWrongTokenWrongToken' })
    await ask('/ping', { authorization: 'Signature keyId="SecretKeyId",x' })
    const requests = await log.requests(6)
    expect(requests.map(({ facts }) => facts.user)).toEqual([
      'alice',
      undefined,
      undefined,
      'builder',
      undefined,
      undefined,
    ])
    const text = JSON.stringify(log.lines, (_key, value) => (value instanceof Error ? `${value.stack}` : value))
    for (const secret of [
      'geheim',
      'Wr0ngSecret',
      'PasswordTypedAsName',
      TOKEN,
      'WrongToken',
      'SecretKeyId',
      'scrypt:',
    ]) {
      expect(text).not.toContain(secret)
    }
    expect(text).not.toContain(Buffer.from('alice:geheim').toString('base64'))
  })
})
