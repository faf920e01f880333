import { execFile, spawn, spawnSync } from 'node:child_process'
import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from '../../scripts/free-port.mjs'
import type { MadeBlob, MadeDockerImage } from './docker-images.js'
import { takesConnections } from './takes-connections.js'
import type { Certificates } from './upstreams/certificates.js'
import { basic, serve, type TestServer } from './upstreams/serve.js'

const run = promisify(execFile)

/** Why Debian's registry cannot be had here, or `undefined` when it can. */
export function whyNoDockerRegistry(): string | undefined {
  const missing = ['docker-registry', 'skopeo', 'zstd'].filter((command) => spawnSync('which', [command]).status !== 0)
  return missing.length === 0 ? undefined : `Debian's packages ${missing.join(', ')} are not installed`
}

export interface DockerRegistry {
  readonly url: string
  /** As in `docker://HOST/name`. */
  readonly host: string
  /** What it keeps: another registry may serve the same. */
  readonly storage: string
  close(): Promise<void>
}

/** Whom a registry with `asksPassword` knows; the line was made by `htpasswd -nbB`, as it takes bcrypt only. */
export const BASIC_USER = {
  username: 'mirror',
  password: 'open:sesame',
  htpasswd: 'mirror:$2y$05$H9N0E4l4nDmzhnWNTZfoCeybi3qTtO3K5.84M6jQU0U3WbUKqecoW\n',
}

export interface RegistryForm {
  /** Another registry's, to serve what it was filled with. */
  readonly storage?: string
  /** Asks for the name and password of `BASIC_USER`. */
  readonly asksPassword?: boolean
  /** Tokens of this server are believed. */
  readonly tokens?: TokenServer
  readonly tls?: Certificates
  /** Blobs are to be had there: https and host, without a slash at the end. */
  readonly redirect?: string
}

/** Starts Debian's docker-registry on a port of its own, with everything it writes under `workspace`. */
export async function startDockerRegistry(workspace: string, form: RegistryForm = {}): Promise<DockerRegistry> {
  const home = await mkdtemp(join(workspace, 'registry-'))
  const storage = form.storage ?? join(home, 'storage')
  await mkdir(storage, { recursive: true })
  const port = await freePort()
  const host = `127.0.0.1:${port}`
  const { asksPassword = false, redirect, tls, tokens } = form
  const file = async (name: string, text: string) => {
    await writeFile(join(home, name), text)
    return join(home, name)
  }
  const configuration = {
    version: 0.1,
    log: { accesslog: { disabled: true }, level: 'error' },
    storage: {
      filesystem: { rootdirectory: storage },
      delete: { enabled: true },
      ...(redirect === undefined && { redirect: { disable: true } }),
    },
    ...(redirect !== undefined && {
      middleware: { storage: [{ name: 'redirect', options: { baseurl: `${redirect}/` } }] },
    }),
    http: {
      addr: host,
      ...(tls && {
        tls: { certificate: await file('tls.crt', tls.server.cert), key: await file('tls.key', tls.server.key) },
      }),
    },
    compatibility: { schema1: { enabled: true } },
    ...(asksPassword && { auth: { htpasswd: { realm: 'test', path: await file('htpasswd', BASIC_USER.htpasswd) } } }),
    ...(tokens && {
      auth: {
        token: {
          realm: tokens.realm,
          service: tokens.service,
          issuer: tokens.issuer,
          rootcertbundle: await file('tokens.crt', tokens.authority),
        },
      },
    }),
  }
  // JSON is YAML.
  const child = spawn('docker-registry', ['serve', await file('config.yml', JSON.stringify(configuration))], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, OTEL_TRACES_EXPORTER: 'none' },
  })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said = (said + chunk).slice(-2000)
  })
  while (!(await takesConnections(`http://127.0.0.1:${port}`))) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}: ${said}`)
    await wait(20)
  }
  return {
    url: `${tls ? 'https' : 'http'}://${host}`,
    host,
    storage,
    async close() {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      await rm(home, { recursive: true, force: true })
    },
  }
}

/** Puts things into a registry that asks nobody who they are, byte by byte as they are. */
export class RegistryFiller {
  constructor(readonly url: string) {}

  async blob(repository: string, { bytes, digest }: MadeBlob): Promise<void> {
    const begun = await this.#send('POST', `/v2/${repository}/blobs/uploads/`)
    const location = new URL(begun.headers.get('location')!, this.url)
    location.searchParams.set('digest', digest)
    await this.#send('PUT', location.href, bytes, 'application/octet-stream')
  }

  async manifest(repository: string, reference: string, { bytes, mediaType }: MadeBlob): Promise<void> {
    await this.#send('PUT', `/v2/${repository}/manifests/${reference}`, bytes, mediaType)
  }

  /** Blobs, config and manifest, under these tags or, without any, by digest alone. */
  async image(repository: string, image: MadeDockerImage, ...tags: string[]): Promise<void> {
    for (const blob of [...new Set(image.layers), image.config]) await this.blob(repository, blob)
    const references = tags.length > 0 ? tags : [image.manifest.digest]
    for (const reference of references) await this.manifest(repository, reference, image.manifest)
  }

  async #send(method: string, path: string, body?: Buffer, type?: string): Promise<Response> {
    const response = await fetch(new URL(path, this.url), {
      method,
      ...(body && { body: new Uint8Array(body) }),
      ...(type !== undefined && { headers: { 'content-type': type } }),
    })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    await response.arrayBuffer()
    return response
  }
}

/** Runs skopeo, which takes any policy, no TLS but what is asked of it, and leaves nothing behind but in `home`. */
export async function skopeo(home: string, ...args: string[]): Promise<string> {
  const environment = { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: home, TMPDIR: home }
  const { stdout } = await run('skopeo', ['--insecure-policy', ...args], { env: environment, maxBuffer: 2 ** 24 })
  return stdout
}

/** An OCI layout of one image, for skopeo to copy from: `oci:DIRECTORY:TAG`. */
export async function writeOciLayout(directory: string, tag: string, image: MadeDockerImage): Promise<void> {
  const blobs = join(directory, 'blobs', 'sha256')
  await mkdir(blobs, { recursive: true })
  for (const { bytes, digest } of [image.manifest, image.config, ...image.layers]) {
    await writeFile(join(blobs, digest.slice('sha256:'.length)), bytes)
  }
  const { digest, mediaType, size } = image.manifest
  const annotations = { 'org.opencontainers.image.ref.name': tag }
  await writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(
    join(directory, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size, annotations }] }),
  )
}

export interface TokenServer extends TestServer {
  readonly realm: string
  readonly service: string
  readonly issuer: string
  /** PEM of who vouches for its key. */
  readonly authority: string
  /** Tokens given out so far. */
  readonly tokens: string[]
}

export interface TokenServerOptions {
  /** Only they get tokens. Without them, everybody. */
  readonly users?: Readonly<Record<string, string>>
  /** Refresh tokens that buy tokens by OAuth 2. */
  readonly identityTokens?: readonly string[]
  /** Seconds from now until a token is over by its own word; a registry lets it live for 60 more. */
  readonly lifeSeconds?: () => number
  /** What it answers of `expires_in`. */
  readonly toldSeconds?: number
  /** Repositories nobody may pull from. */
  readonly denied?: readonly string[]
}

/** Gives out tokens that a registry with `auth: token` believes: JWTs, signed with ES256. */
export async function startTokenServer(
  certificates: Certificates,
  options: TokenServerOptions = {},
): Promise<TokenServer> {
  const { denied = [], identityTokens = [], lifeSeconds = () => 300, toldSeconds = 300, users } = options
  const [service, issuer] = ['registry.test', 'tokens.test']
  const key = createPrivateKey(certificates.server.key)
  const x5c = [new X509Certificate(certificates.server.cert).raw.toString('base64')]
  const tokens: string[] = []
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const tokenFor = (scopes: readonly string[], subject: string) => {
    const now = Math.floor(Date.now() / 1000)
    const access = scopes.flatMap((scope) => {
      const [type, name = '', actions = ''] = scope.split(':')
      return denied.includes(name)
        ? []
        : [{ type, name, actions: actions.split(',').filter((each) => each === 'pull') }]
    })
    const claims = {
      iss: issuer,
      sub: subject,
      aud: service,
      exp: now + lifeSeconds(),
      nbf: now - 600,
      iat: now - 600,
      jti: randomUUID(),
      access,
    }
    const signed = `${encode({ typ: 'JWT', alg: 'ES256', x5c })}.${encode(claims)}`
    const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')
    tokens.push(`${signed}.${signature}`)
    return tokens.at(-1)!
  }
  const server = await serve((request, response, url) => {
    const answer = (token: string) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ token, expires_in: toldSeconds }))
    }
    if (request.method === 'POST') {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const form = new URLSearchParams(Buffer.concat(chunks).toString())
        const isKnown = identityTokens.includes(form.get('refresh_token') ?? '')
        if (identityTokens.length === 0) response.writeHead(404).end()
        else if (!isKnown || form.get('grant_type') !== 'refresh_token') response.writeHead(401).end()
        else answer(tokenFor((form.get('scope') ?? '').split(' '), 'identity'))
      })
      return
    }
    const [user] =
      Object.entries(users ?? {}).find(
        ([username, password]) => request.headers.authorization === basic({ username, password }),
      ) ?? []
    const isRefused = request.headers.authorization !== undefined && user === undefined
    if (isRefused || (users && user === undefined)) response.writeHead(401).end()
    else answer(tokenFor(url.searchParams.getAll('scope'), user ?? ''))
  })
  return Object.assign(Object.create(server) as TestServer, {
    realm: `${server.url}/token`,
    service,
    issuer,
    authority: certificates.ca,
    tokens,
    url: server.url,
    requests: server.requests,
    close: () => server.close(),
  })
}
