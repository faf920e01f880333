import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../src/errors.js'
import { type LogOptions, makeLog } from '../../src/telemetry/log.js'

function listen(options: Partial<LogOptions> = {}) {
  const lines: string[] = []
  const log = makeLog({
    level: 'info',
    format: 'json',
    isTerminal: false,
    write: (line) => lines.push(line),
    ...options,
  })
  return { log, lines, facts: () => lines.map((line) => JSON.parse(line)) }
}

describe('the log', () => {
  it('writes one JSON object per line, with what was handed down', () => {
    const { log, facts } = listen()
    log.with({ requestId: 'r1' }).with({ uuid: 'u1' }).warn({ bytes: 7 }, 'cut short')
    expect(facts()).toEqual([
      { level: 'warn', time: expect.stringMatching(/Z$/), requestId: 'r1', uuid: 'u1', bytes: 7, msg: 'cut short' },
    ])
  })

  it('leaves out what is less serious than its level', () => {
    const { log, lines } = listen({ level: 'warn' })
    log.debug({}, 'a')
    log.info({}, 'b')
    log.warn({}, 'c')
    log.error({}, 'd')
    expect(lines).toHaveLength(2)
  })

  it('writes failures whole: type, stack, and what caused them', () => {
    const { log, facts } = listen()
    log.error({ error: new Error('cannot keep', { cause: new TypeError('disk on fire') }) }, 'failed')
    const [{ error }] = facts()
    expect(error).toMatchObject({ type: 'Error', message: 'cannot keep', cause: { type: 'TypeError' } })
    expect(error.cause.stack).toContain('log.test.ts')
  })

  it.each(['err', 'error', 'cause', 'reason'])('tells a failure we expect by code and message (as %s)', (name) => {
    const { log, facts } = listen()
    const refused = new Error('connect ECONNREFUSED 127.0.0.1:9')
    const told = 'upstream a is away: connect ECONNREFUSED 127.0.0.1:9'
    log.warn({ [name]: new MirrorError('UPSTREAM_UNREACHABLE', told, { cause: refused }) }, 'failed')
    log.warn({ [name]: new MirrorError('STORE_BROKEN', 'cannot open blob x', { cause: refused }) }, 'failed')
    expect(facts().map((line) => line[name])).toEqual([
      { code: 'UPSTREAM_UNREACHABLE', message: told },
      { code: 'STORE_BROKEN', message: 'cannot open blob x', cause: 'connect ECONNREFUSED 127.0.0.1:9' },
    ])
  })

  it('is one line for eyes too, unless there is a bug to tell', () => {
    const { log, lines } = listen({ format: 'pretty' })
    log.info({ method: 'GET', path: '/images', status: 200 }, 'request')
    log.warn({ err: new MirrorError('STORE_FULL', 'no room'), uuid: 'u1' }, 'not kept')
    expect(lines.map((line) => line.trimEnd().split('\n').length)).toEqual([1, 1])
    expect(lines[1]).toMatch(/STORE_FULL.*no room/)
    log.error({ err: new TypeError('a bug') }, 'failed')
    expect(lines[2]).toContain('log.test.ts')
  })

  it('is for eyes on a terminal and for machines elsewhere, unless told otherwise', () => {
    const shapes = [
      { format: 'auto', isTerminal: true },
      { format: 'auto', isTerminal: false },
      { format: 'pretty', isTerminal: false },
      { format: 'json', isTerminal: true },
    ] as const
    const isJson = shapes.map((shape) => {
      const { log, lines } = listen(shape)
      log.info({ upstream: 'smartos' }, 'hello')
      expect(lines.join('')).toContain('hello')
      expect(lines.join('')).toContain('smartos')
      return lines.join('').startsWith('{')
    })
    expect(isJson).toEqual([false, true, false, true])
  })

  it('does not give away credentials that were handed down', () => {
    const { log, lines } = listen()
    log.with({ upstream: { secret: 'geheim', name: 'a' } }).info({}, 'asked')
    expect(lines.join('')).toContain('"upstream":{"secret":"(secret)","name":"a"}')
  })

  it('shows everything else of what carries credentials', () => {
    const { log, facts } = listen()
    log.info({ upstreams: [{ name: 'a' }, { name: 'b', cookie: 'geheim' }], count: 2 }, 'asked')
    expect(facts()).toMatchObject([{ upstreams: [{ name: 'a' }, { name: 'b', cookie: '(secret)' }], count: 2 }])
  })

  it('leaves the facts themselves as they are', () => {
    const facts = { token: 'geheim', inside: { key: 'geheim' }, error: new Error('failed') }
    listen().log.info(facts, 'asked')
    expect(facts).toEqual({ token: 'geheim', inside: { key: 'geheim' }, error: new Error('failed') })
  })

  it.each([
    ['a fact called so', { password: 'geheim' }],
    ['a fact inside of another', { upstream: { headers: { authorization: 'geheim' } } }],
    ['what an error carries', { error: Object.assign(new Error('failed'), { options: { token: 'geheim' } }) }],
    ['an error called otherwise', { first: Object.assign(new Error('failed'), { password: 'geheim' }) }],
    ['one of several', { upstreams: [{ name: 'a' }, { cookie: 'geheim' }] }],
    ['a url', { url: 'https://me:geheim@images.example.com/images' }],
    ['the message of an error', { error: new Error('GET http://me:geheim@a failed') }],
    ['a header in a text', { sent: 'authorization: Basic geheim' }],
    ['headers as JSON in a text', { sent: JSON.stringify({ Authorization: 'Bearer geheim' }) }],
  ])('does not give away credentials in %s', (_where, facts) => {
    for (const format of ['json', 'pretty'] as const) {
      const { log, lines } = listen({ format })
      log.error(facts, 'failed')
      expect(lines.join('')).toContain('(secret)')
      expect(lines.join('')).not.toContain('geheim')
    }
  })
})
