import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { hashToken } from '../../src/parts/access-token.js'
import { startMirror } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { type Certificates, makeCertificates } from '../support/upstreams/certificates.js'
import { runCommand } from './run-command.js'

const TOKEN = `imt_${'a'.repeat(40)}`

/** Files as an operator has them, and what `certificates` made. */
async function makeFiles() {
  const directory = await temporaryDirectory()
  const [ours, others]: [Certificates, Certificates] = [await makeCertificates(), await makeCertificates()]
  const write = async (name: string, content: string) => {
    await writeFile(join(directory, name), content)
    return join(directory, name)
  }
  return {
    directory,
    write,
    ca: await write('ca.pem', ours.ca),
    otherCa: await write('other-ca.pem', others.ca),
    cert: await write('server.crt', ours.server.cert),
    key: await write('server.key', ours.server.key),
    client: await write('client.pem', `${ours.client.cert}${ours.client.key}`),
    stranger: await write('stranger.pem', `${others.client.cert}${others.client.key}`),
    token: await write('token', `${TOKEN}\n`),
    wrongToken: await write('wrong-token', `imt_${'b'.repeat(40)}\n`),
  }
}

const list = (...words: string[]) => runCommand(['list', '-H', ...words])
const told = (url: string, said: string) => [1, `imgapi-mirror: ${said.replace('URL', url)}\n`]

describe('over TLS', () => {
  it('believes the authority of --ca, and nobody without it', async () => {
    const { ca, cert, key, otherCa } = await makeFiles()
    const { operatorUrl: url } = await startMirror({ operator: { address: '127.0.0.1:0', cert, key } })
    expect(url).toMatch(/^https:/)
    expect(await list('--url', url, '--ca', ca)).toMatchObject({ code: 0, err: '' })
    for (const words of [[], ['--ca', otherCa]]) {
      const { code, err } = await list('--url', url, ...words)
      expect([code, err]).toEqual(
        told(url, 'URL: its certificate is of no authority that is known here; --ca names a file with the right one'),
      )
    }
  })

  it('knows the mirror of a config file by the very certificate that stands there', async () => {
    const { cert, directory, key } = await makeFiles()
    const { operatorUrl: url } = await startMirror({ operator: { address: '127.0.0.1:0', cert, key } })
    // By another name than the certificate is for.
    const address = new URL(url).host.replace('127.0.0.1', 'localhost')
    const config = `operator: { address: '${address}', cert: ${cert}, key: ${key} }\ndata: ./data\nupstreams: []\noffline: true\n`
    const path = join(directory, 'config.yaml')
    await writeFile(path, config)
    expect(await list('--config', path)).toMatchObject({ code: 0, err: '' })
  })

  it('says when http is meant for https, and the other way round', async () => {
    const { ca, cert, key } = await makeFiles()
    const { operatorUrl: secure } = await startMirror({ operator: { address: '127.0.0.1:0', cert, key } })
    const plainly = secure.replace('https:', 'http:')
    const { code, err } = await list('--url', plainly)
    expect([code, err]).toEqual(told(plainly, 'URL hung up without an answer; does it speak https?'))

    const { operatorUrl: open } = await startMirror()
    const secretly = open.replace('http:', 'https:')
    const other = await list('--url', secretly, '--ca', ca)
    expect([other.code, other.err]).toEqual(told(secretly, 'URL speaks no TLS that we understand; is http:// meant?'))
  })
})

describe('where the mirror wants to know who asks', () => {
  const restricted = (tokenFile: string, more = {}) => ({ operatorAccess: { tokenFile, local: 'restricted', ...more } })

  it('shows the token of --token-file, or of the config file', async () => {
    const { directory, token } = await makeFiles()
    const { operatorUrl: url } = await startMirror(restricted(token))
    expect(await list('--url', url, '--token-file', token)).toMatchObject({ code: 0, err: '' })
    const path = join(directory, 'config.yaml')
    const config = `operator: ${new URL(url).host}\noperatorAccess: { tokenFile: ${token} }\ndata: ./data\nupstreams: []\noffline: true\n`
    await writeFile(path, config)
    expect(await list('--config', path)).toMatchObject({ code: 0, err: '' })
  })

  it('says that the token is wrong, and where it was from', async () => {
    const { token, wrongToken } = await makeFiles()
    const { operatorUrl: url } = await startMirror(restricted(token))
    const { code, err } = await list('--url', url, '--token-file', wrongToken)
    expect([code, err]).toEqual(
      told(url, `this is not the token of operatorAccess.tokenFile (it is from ${wrongToken})`),
    )
  })

  it('says what would let in who shows nothing', async () => {
    const { token } = await makeFiles()
    const { operatorUrl: url } = await startMirror(restricted(token))
    const { code, err } = await list('--url', url)
    const message = 'this takes the token, or a certificate, that operatorAccess in the config names'
    expect([code, err]).toEqual(told(url, `${message} (--token-file or --cert says who you are)`))
  })

  it('never takes the hash of a token for the token', async () => {
    const { directory, write } = await makeFiles()
    const hash = await write('hash', `sha256:${hashToken(TOKEN).toString('hex')}`)
    const { operatorUrl: url } = await startMirror(restricted(hash))
    const path = join(directory, 'config.yaml')
    await writeFile(
      path,
      `operator: ${new URL(url).host}\noperatorAccess: { tokenFile: ${hash} }\ndata: ./data\nupstreams: []\noffline: true\n`,
    )
    expect((await list('--config', path)).err).toContain('--token-file or --cert says who you are')
  })

  it('shows the certificate of --cert, with its key in the same file or in --key', async () => {
    const { ca, cert, client, key, stranger, token, write } = await makeFiles()
    const operator = { address: '127.0.0.1:0', cert, key }
    const { operatorUrl: url } = await startMirror({ operator, ...restricted(token, { clientCa: ca }) })
    expect(await list('--url', url, '--ca', ca, '--cert', client)).toMatchObject({ code: 0, err: '' })
    const both = await readFile(client, 'utf8')
    const keyAt = both.indexOf('-----BEGIN PRIVATE KEY')
    const [alone, itsKey] = [
      await write('alone.crt', both.slice(0, keyAt)),
      await write('alone.key', both.slice(keyAt)),
    ]
    expect(await list('--url', url, '--ca', ca, '--cert', alone, '--key', itsKey)).toMatchObject({ code: 0, err: '' })
    expect((await list('--url', url, '--ca', ca, '--cert', stranger)).err).toContain(
      'this takes the token, or a certificate',
    )
    const { code, err } = await list('--url', url, '--ca', ca, '--cert', alone)
    expect([code, err]).toEqual([
      1,
      `imgapi-mirror: ${alone} has no private key in it; --key names the file that has\n`,
    ])
  })

  it('says which file cannot be read', async () => {
    const { code, err } = await list('--url', 'http://127.0.0.1:1', '--token-file', '/nowhere/token')
    expect([code, err]).toEqual([1, expect.stringMatching(/^imgapi-mirror: \/nowhere\/token cannot be read: ENOENT/)])
  })
})

describe('over a unix socket', () => {
  it('asks it, by --url and by the config file', async () => {
    const directory = await temporaryDirectory()
    const socket = `unix:${join(directory, 'operator.sock')}`
    await startMirror({ operator: socket })
    expect(await list('--url', socket)).toMatchObject({ code: 0, err: '' })
    const path = join(directory, 'config.yaml')
    await writeFile(path, `operator: ${socket}\ndata: ./data\nupstreams: []\noffline: true\n`)
    expect(await list('--config', path)).toMatchObject({ code: 0, err: '' })
  })

  it('says that nobody is behind one', async () => {
    const { code, err } = await list('--url', 'unix:/nowhere/operator.sock')
    expect([code, err]).toEqual([
      1,
      'imgapi-mirror: no mirror answers at unix:/nowhere/operator.sock; is it running? (imgapi-mirror serve)\n',
    ])
  })
})

describe('which mirror is meant', () => {
  let url: string
  let other: string
  const ask = async (line: string[], environment: Record<string, string>) => {
    const { out } = await runCommand(['status', ...line], {
      environment,
      readFile: async () => `operator: ${new URL(other).host}\nupstreams: []\noffline: true\n`,
    })
    return /^mirror +(\S+?),?(?: |$)/m.exec(out)?.[1]
  }
  beforeAll(() => {
    expect(process.env.IMGAPI_MIRROR_URL).toBeUndefined()
  })

  it('is said by --url, else by --config, else by IMGAPI_MIRROR_URL, else by config.yaml', async () => {
    const [one, two, three] = [await startMirror(), await startMirror(), await startMirror()]
    ;[url, other] = [one.operatorUrl, two.operatorUrl]
    const environment = { IMGAPI_MIRROR_URL: three.operatorUrl }
    expect(await ask(['--url', url, '--config', 'x.yaml'], environment)).toBe(url)
    expect(await ask(['--config', 'x.yaml'], environment)).toBe(other)
    expect(await ask([], environment)).toBe(three.operatorUrl)
    expect(await ask([], {})).toBe(other)
  })

  it.each(['ftp://mirror', 'mirror', 'unix:', 'http://'])('is not %s', async (nonsense) => {
    const { code, err } = await list('--url', nonsense)
    expect([code, err]).toEqual([
      2,
      `imgapi-mirror: "${nonsense}" is no address of an operator listener, such as http://127.0.0.1:8081 or unix:/path\n`,
    ])
  })

  it('is told from what is no mirror at all', async () => {
    const { createServer } = await import('node:http')
    const server = createServer((_, response) => response.end('<html>It works!</html>'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const { port } = server.address() as { port: number }
    const { code, err } = await list('--url', `http://127.0.0.1:${port}`)
    expect([code, err]).toEqual([
      1,
      `imgapi-mirror: http://127.0.0.1:${port} answers with something else than JSON, and so is no operator listener of a mirror\n`,
    ])
  })
})
