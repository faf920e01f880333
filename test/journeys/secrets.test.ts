import { randomBytes } from 'node:crypto'
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'
import { HASH_OF_GEHEIM } from '../support/users.js'

/** Nobody says these words but whoever has them from a file, or guesses. */
const secrets: string[] = []
const secret = (what: string) => {
  const text = `${what}-${randomBytes(9).toString('hex')}`
  secrets.push(text)
  return text
}

/** A secret as it stands, and as headers carry it. */
const formsOf = (text: string) => [
  text,
  encodeURIComponent(text),
  // In the middle of base64, whatever stands before it.
  ...[0, 1, 2].map((shift) =>
    Buffer.from(`${'x'.repeat(shift)}${text}`)
      .toString('base64')
      .slice(4, -4),
  ),
]

async function everyFileIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

it('writes no password, token or key anywhere in a whole run: not into its log, nor its answers, nor what it keeps', async () => {
  const directory = await temporaryDirectory()
  const kept = async (name: string, text: string) => {
    await writeFile(join(directory, name), text)
    await chmod(join(directory, name), 0o600)
    return join(directory, name)
  }
  const [upstreamPassword, dockerPassword] = [secret('upstream-password'), secret('docker-password')]
  const [userPassword, userToken, operatorToken] = [
    secret('user-password'),
    secret('user-token-long'),
    secret('operator-token'),
  ]
  const [wrongPassword, wrongToken, sourcePassword] = [
    secret('wrong-password'),
    secret('wrong-token'),
    secret('source-password'),
  ]
  const image = makeImage({ name: 'served' })
  const good = await startUpstream({ images: [image], credentials: { username: 'mirror', password: upstreamPassword } })
  const rude = await startUpstream({
    images: [],
    // Says back whatever it was told, as some proxies do when they are in trouble.
    intercept: (request, response) => {
      response.writeHead(request.url?.startsWith('/v2') ? 401 : 500, {
        'content-type': 'application/json',
        'www-authenticate': 'Basic realm="x"',
      })
      response.end(JSON.stringify({ code: 'X', message: `you sent Authorization: ${request.headers.authorization}` }))
      return true
    },
  })
  const auths = { [new URL(rude.url).host]: { auth: Buffer.from(`robot:${dockerPassword}`).toString('base64') } }
  const upstreams = [
    { name: 'good', url: good.url, username: 'mirror', passwordFile: await kept('up', `${upstreamPassword}\n`) },
    { name: 'rude', url: rude.url, username: 'mirror', passwordFile: await kept('rude', upstreamPassword) },
    {
      ...{ name: 'hub', type: 'docker', url: rude.url, images: ['team/app:1'] },
      dockerConfig: await kept('docker.json', JSON.stringify({ auths })),
    },
  ]
  const users = [
    { name: 'alice', passwordFile: await kept('alice', userPassword) },
    { name: 'bot', tokenFile: await kept('bot', userToken) },
    { name: 'hashed', passwordHash: HASH_OF_GEHEIM },
  ]
  secrets.push(HASH_OF_GEHEIM.split(':').at(-1)!)
  const mirror = await MirrorProcess.start(
    directory,
    {
      ...{ upstreams, log: { level: 'debug', format: 'json' }, publish: { users } },
      operatorAccess: { tokenFile: await kept('operator', operatorToken), local: 'restricted' },
    },
    { isFromSource: true, environment: { IMGAPI_MIRROR_LOG_LEVEL: 'debug' } },
  )
  const answers: string[] = []
  const ask = async (url: string, authorization?: string, init: RequestInit = {}) => {
    const answer = await fetch(url, { ...init, headers: { ...(authorization && { authorization }) } })
    answers.push(JSON.stringify([...answer.headers]), await answer.text())
    return answer.status
  }
  const basic = (name: string, password: string) => `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
  const { operatorUrl, url } = mirror
  await until(async () => {
    const { upstreams: states } = (await (await fetch(`${operatorUrl}/status`)).json()) as {
      upstreams: { state: string }[]
    }
    return states.every(({ state }) => state !== 'waiting')
  })

  expect(await ask(`${url}/images/${uuidOf(image)}/file`, basic('alice', userPassword))).toBe(200)
  expect(await ask(`${url}/images?inclAdminFields=true`, `Bearer ${userToken}`)).toBeLessThan(500)
  expect(await ask(`${url}/images`, basic('alice', wrongPassword))).toBe(401)
  expect(await ask(`${url}/images`, `Bearer ${wrongToken}`)).toBe(401)
  expect(await ask(`${url}/images`, basic(wrongPassword, 'the name in the wrong place'))).toBe(401)
  expect(await ask(`${url}/v2/`, basic('alice', wrongPassword))).toBe(401)
  const source = encodeURIComponent(`http://someone:${sourcePassword}@${new URL(rude.url).host}`)
  const foreign = `${url}/images/11111111-1111-4111-8111-111111111111?action=import-remote&source=${source}`
  expect(await ask(foreign, `Bearer ${userToken}`, { method: 'POST' })).toBeGreaterThanOrEqual(400)
  expect(await ask(`${operatorUrl}/api/refresh`, `Bearer ${wrongToken}`, { method: 'POST' })).toBe(401)
  for (const [method, path] of [
    ['POST', 'api/refresh'],
    ['POST', 'api/upstreams/check'],
    ['POST', 'api/reload'],
    ['GET', 'api/audit/log?limit=1000'],
    ['GET', 'status'],
    ['GET', 'metrics'],
  ] as const) {
    expect(await ask(`${operatorUrl}/${path}`, `Bearer ${operatorToken}`, { method }), path).toBe(200)
  }
  // A configuration that is refused is told word by word: not with what stands in files.
  await writeFile(
    join(directory, 'mirror.yaml'),
    `operatorAccess: {tokenFile: ${join(directory, 'operator')}}\nnonsense: 1\n`,
  )
  expect(await ask(`${operatorUrl}/api/reload`, `Bearer ${operatorToken}`, { method: 'POST' })).toBe(422)
  expect(await mirror.stop()).toBe(0)

  const log = mirror.lines.join('\n')
  expect(log).toContain('you sent Authorization: Basic (secret)')
  const requestIds = mirror.lines.filter((line) => line.includes('"msg":"request"') && line.includes('"requestId":"'))
  expect(requestIds.length).toBeGreaterThan(10)
  const written = await Promise.all((await everyFileIn(mirror.dataDirectory)).map((file) => readFile(file, 'latin1')))
  for (const [where, text] of [
    ['the log', log],
    ['an answer', answers.join('\n')],
    ['the data directory', written.join('\n')],
  ] as const) {
    const found = secrets.filter((each) => formsOf(each).some((form) => text.includes(form)))
    expect(found, where).toEqual([])
  }
})
