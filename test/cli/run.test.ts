import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { run } from '../../src/cli/run.js'
import { serve } from '../../src/cli/serve.js'
import type { Running, Surroundings } from '../../src/cli/surroundings.js'
import { MirrorError } from '../../src/errors.js'
import { hashOfToken, parseTokenHash } from '../../src/parts/access-token.js'
import type { Log } from '../../src/parts/log.js'
import { isPassword, parsePasswordHash } from '../../src/parts/password-hash.js'

const CONFIG = `
upstreams:
  - name: smartos
    url: https://images.smartos.org
    username: mirror
    passwordFile: password
`

/** A process to run in: its files, what it is told, and what became of it. */
function makeSurroundings(changes: Partial<Surroundings> = {}) {
  const files: Record<string, string> = { 'config.yaml': CONFIG, 'bad.yaml': 'refresh: 1\nlisten: 2' }
  const stop = new AbortController()
  const seen = { out: '', err: '', logged: [] as string[], closed: 0 }
  const note = (_facts: object, message: string) => void seen.logged.push(message)
  const log: Log = { debug: note, info: note, warn: note, error: note, with: () => log }
  const running: Running = {
    listeners: ['http://0.0.0.0:8080'],
    operators: ['http://127.0.0.1:8081'],
    reload: async () => ({ changed: [], needsRestart: [] }),
    close: async () => void seen.closed++,
  }
  const surroundings: Surroundings = {
    version: '1.2.3',
    environment: {},
    write: (text) => {
      seen.out += text
    },
    complain: (text) => {
      seen.err += text
    },
    readFile: async (path) => {
      if (path.endsWith('password')) return 'geheim'
      const text = files[path]
      if (text === undefined) throw new Error(`ENOENT: no such file, open '${path}'`)
      return text
    },
    openInput: async () => ({ stream: Readable.from([]), sizeBytes: undefined }),
    stop: stop.signal,
    makeLog: () => log,
    assemble: async () => running,
    ...changes,
  }
  return { surroundings, seen, stop, running }
}

describe('imgapi-mirror', () => {
  it('serves, says where, and closes when it is told to stop', async () => {
    const { seen, stop, surroundings } = makeSurroundings()
    const exitCode = run([], {
      ...surroundings,
      assemble: async (options) => {
        expect(options.config.upstreams[0]?.name).toBe('smartos')
        // As soon as it is up, somebody presses Ctrl-C.
        setImmediate(() => stop.abort('SIGINT'))
        return surroundings.assemble(options)
      },
    })
    expect(await exitCode).toBe(0)
    expect(seen.closed).toBe(1)
    expect(seen.logged).toEqual([
      'imgapi-mirror 1.2.3 starts',
      'operators: http://127.0.0.1:8081',
      'clients: http://0.0.0.0:8080',
      'SIGINT: closing',
      'closed',
    ])
  })

  it('closes at once when it was told to stop while it started', async () => {
    const { seen, stop, surroundings } = makeSurroundings()
    stop.abort('SIGTERM')
    expect(await run(['serve'], surroundings)).toBe(0)
    expect(seen.closed).toBe(1)
  })

  it('leaves all the same when closing takes too long', async () => {
    const { running, seen, stop, surroundings } = makeSurroundings()
    stop.abort('SIGTERM')
    const stuck = { ...running, close: () => new Promise<void>(() => {}) }
    const exitCode = await serve({ config: 'config.yaml' }, { ...surroundings, assemble: async () => stuck }, 10)
    expect(exitCode).toBe(1)
    expect(seen.logged.at(-1)).toMatch(/not closed after/)
  })

  it('fails with 1 and everything that is wrong with the config', async () => {
    for (const args of [
      ['--config', 'bad.yaml'],
      ['config', 'check', '--config', 'bad.yaml'],
    ]) {
      const { seen, surroundings } = makeSurroundings()
      expect(await run(args, surroundings)).toBe(1)
      expect(seen.err).toMatch(/bad\.yaml:1:10: refresh.*\n.*bad\.yaml:2:9: listen/)
    }
  })

  it('fails with 1 when there is no config, naming it', async () => {
    const { seen, surroundings } = makeSurroundings()
    expect(await run(['--config', 'gone.yaml'], surroundings)).toBe(1)
    expect(seen.err).toBe("imgapi-mirror: gone.yaml: cannot be read: ENOENT: no such file, open 'gone.yaml'\n")
  })

  it('fails with 1 when it cannot start for a reason we expect', async () => {
    const assemble = () => Promise.reject(new MirrorError('STORE_LOCKED', 'another process owns data/'))
    const { seen, surroundings } = makeSurroundings({ assemble })
    expect(await run([], surroundings)).toBe(1)
    expect(seen.err).toBe('imgapi-mirror: another process owns data/\n')
  })

  it('throws on what nobody expected', async () => {
    const assemble = () => Promise.reject(new TypeError('a bug'))
    await expect(run([], makeSurroundings({ assemble }).surroundings)).rejects.toThrow('a bug')
  })

  it.each([
    ['an option nobody knows', ['--confg', 'x'], 'Did you mean --config?'],
    ['a command nobody knows', ['config', 'chekc'], 'Did you mean check?'],
    [
      'a word that is no command',
      ['nonsense'],
      "unknown command 'nonsense'\n(The commands are serve, config, publish, user, ",
    ],
    ['a word that is nearly a command', ['confg'], "unknown command 'confg'\n(Did you mean config?)"],
    ['an option without its value', ['--config'], 'argument missing'],
    ['a word too many', ['serve', 'now'], 'too many arguments'],
  ])('exits with 2 after %s', async (_what, args, complaint) => {
    const { seen, surroundings } = makeSurroundings()
    expect(await run(args, surroundings)).toBe(2)
    expect(seen.err).toContain(complaint)
  })

  it('prints its version, and help with examples', async () => {
    const { seen, surroundings } = makeSurroundings()
    expect(await run(['--version'], surroundings)).toBe(0)
    expect(seen.out).toBe('1.2.3\n')
    expect(await run(['--help'], surroundings)).toBe(0)
    expect(seen.out).toContain('imgadm sources -a')
  })

  it('says that a config is right, and prints what it comes to as a config file, with secrets in files of their own', async () => {
    const { seen, surroundings } = makeSurroundings({ environment: { IMGAPI_MIRROR_REFRESH: '5m' } })
    expect(await run(['config', 'check'], surroundings)).toBe(0)
    expect(seen.out).toMatch(/config\.yaml is right\. Upstreams: smartos/)

    seen.out = ''
    expect(await run(['config', 'check', '--print'], surroundings)).toBe(0)
    expect(parse(seen.out)).toMatchObject({
      refresh: '5m',
      holdback: '64KiB',
      upstreams: [{ passwordFile: 'password' }],
    })
    expect(seen.out).not.toContain('geheim')
  })

  it('shows no secret of users, neither what is right nor what is wrong with it', async () => {
    const hash = 'scrypt:16384:8:1:AAAAAAAAAAAAAAAAAAAAAA:bycT3uDnDpHQcp2r6rt-ahE1XmlK_2ZIqeNyp6iA0x4'
    const token = 'ThisIsTheTokenThatNobodyMaySee'
    const users = (more: string) => `
publish:
  users:
    - { name: alice, passwordHash: "${hash}", tokenFile: token }
    - { name: bob, passwordFile: password }
    - { name: carol, tokenHash: "sha256:${'ab'.repeat(32)}"${more} }
`
    const texts: Record<string, string> = {
      'config.yaml': users(''),
      // Where a hash belongs somebody has written the secret itself.
      'bad.yaml': users(', passwordHash: TypedInTheWrongPlace').replace('sha256:ab', 'sha256:zz'),
      token,
      password: 'geheim',
    }
    const readFile = async (path: string) => {
      const text = texts[path.split('/').at(-1)!]
      if (text === undefined) throw new Error(`ENOENT: no such file, open '${path}'`)
      return text
    }
    const said: string[] = []
    for (const file of ['config.yaml', 'bad.yaml']) {
      for (const print of [[], ['--print']]) {
        const { seen, surroundings } = makeSurroundings({ readFile })
        const exitCode = await run(['config', 'check', '--config', file, ...print], surroundings)
        expect(exitCode, seen.err).toBe(file === 'bad.yaml' ? 1 : 0)
        said.push(seen.out + seen.err)
      }
    }
    for (const text of said) {
      expect(text).not.toMatch(/geheim|ThisIsTheToken|bycT3uDn|abababab|zzabab|TypedInTheWrongPlace/)
    }
    expect(parse(said[1]!)).toMatchObject({
      publish: {
        users: [
          { name: 'alice', passwordHash: '(not shown)', tokenFile: 'token' },
          { name: 'bob', passwordFile: 'password' },
          { name: 'carol', tokenHash: '(not shown)' },
        ],
      },
    })
    texts.token = 'TooShortToken'
    const { seen, surroundings } = makeSurroundings({ readFile })
    expect(await run(['config', 'check'], surroundings)).toBe(1)
    expect(seen.err).toContain('tokenFile')
    expect(seen.err).not.toContain('TooShort')
  })

  it('prints an example and a schema', async () => {
    const { seen, surroundings } = makeSurroundings()
    expect(await run(['config', 'example'], surroundings)).toBe(0)
    expect(parse(seen.out)).toMatchObject({ upstreams: [{ name: 'smartos' }] })
    seen.out = ''
    expect(await run(['config', 'schema'], surroundings)).toBe(0)
    expect(JSON.parse(seen.out)).toMatchObject({ properties: { upstreams: {} } })
  })
})

const typing = (text: string) => async () => ({ stream: Readable.from([text]), sizeBytes: undefined })

describe('imgapi-mirror user', () => {
  it('hashes a password from standard input, and shows it nowhere', async () => {
    const { seen, surroundings } = makeSurroundings({ openInput: typing('geheim\nmore') })
    expect(await run(['user', 'hash-password'], surroundings)).toBe(0)
    expect(await isPassword('geheim', parsePasswordHash(seen.out.trim())!)).toBe(true)
    expect(seen.out + seen.err).not.toContain('geheim')
  })

  it('refuses no password', async () => {
    const { seen, surroundings } = makeSurroundings({ openInput: typing('\n') })
    expect(await run(['user', 'hash-password'], surroundings)).toBe(1)
    expect(seen.err).toContain('standard input')
  })

  it('makes a token and its hash', async () => {
    const { seen, surroundings } = makeSurroundings()
    expect(await run(['user', 'make-token'], surroundings)).toBe(0)
    const [, token = '', hash = ''] = /^token: (\S+)\ntokenHash: (\S+)\n$/.exec(seen.out) ?? []
    expect(hashOfToken(token)).toEqual(parseTokenHash(hash))
  })
})
