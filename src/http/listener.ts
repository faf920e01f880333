import { once } from 'node:events'
import fs from 'node:fs/promises'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import net, { type Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
import { hasCode, MirrorError } from '../errors.js'
import { type Log, silentLog } from '../parts/log.js'

/**
 * Where to listen: `0.0.0.0:8080`, `[::1]:8080`, `localhost:8080`, `unix:/path`, or the same taken apart. Port 0 lets the
 * system choose.
 */
export type Address = string | { readonly host: string; readonly port: number } | { readonly path: string }

/** An address that speaks TLS: the certificate, with those of its issuers behind it, and its key, both as PEM text. */
export interface SecureAddress extends Certificate {
  readonly address: Address
}

/** What a secure listener shows, and whom it asks for the same. */
export interface Certificate {
  readonly cert: string | Buffer
  readonly key: string | Buffer
  /** PEM of authorities: clients are asked for a certificate, and those without a right one are let in as nobody. */
  readonly clientCa?: string | undefined
}

export type Listener = Address | SecureAddress | readonly (Address | SecureAddress)[]

/** What answers: `app.callback()` of a koa app, or anything like it. It settles its own failures. */
export type Handler = (req: IncomingMessage, res: ServerResponse) => unknown

/** What a slow, half-open or hostile client can cost us at most. */
export interface ListenerBounds {
  /** Connections at once; one more is closed as it comes. */
  readonly maxConnections: number
  /** From the connection, or the first byte on a kept one, to the end of the headers. */
  readonly headersTimeoutMs: number
  /** How long a kept connection may idle. More than the 60 s of common proxies, so that it is they who close first. */
  readonly keepAliveTimeoutMs: number
  /**
   * A connection on which no byte moves in either direction is cut: a client that stops reading, or is gone without a
   * word. Our own silence counts too; upstreams are given up long before.
   */
  readonly inactivityTimeoutMs: number
  /** Request line and headers together; the 431 beyond it is node's. */
  readonly maxHeaderBytes: number
  /** The last one is told `Connection: close`; what is asked after it gets node's 503. */
  readonly maxRequestsPerConnection: number
}

export const DEFAULT_BOUNDS: ListenerBounds = {
  maxConnections: 4096,
  headersTimeoutMs: 20_000,
  keepAliveTimeoutMs: 75_000,
  inactivityTimeoutMs: 300_000,
  maxHeaderBytes: 16 * 1024,
  maxRequestsPerConnection: 10_000,
}

/** Open for business. */
export interface OpenListener {
  /** One per address listened on, with the port that was really taken: `http://127.0.0.1:8080`, `unix:/path`. */
  readonly urls: readonly string[]
  /** The first of them. */
  readonly url: string
  /**
   * Shows this certificate from now on; connections that stand are not disturbed. For a listener of one secure address.
   * @throws MirrorError CONFIG_INVALID as `checkCertificate`.
   */
  renew(certificate: Certificate): void
  /**
   * Takes nothing new, closes what idles, lets answers on their way finish for `limitMs` (for ever, if that is not finite), then
   * cuts the rest. Resolves when every connection is closed. May be called again with a shorter limit.
   */
  close(limitMs: number): Promise<void>
}

/**
 * Listens; everything is ready when it resolves. If one of several addresses cannot be had, none is kept.
 *
 * @throws MirrorError CONFIG_INVALID naming the address and what is wrong with it.
 */
export async function listen(
  listener: Listener,
  handler: Handler,
  bounds: Partial<ListenerBounds> = {},
  log: Log = silentLog,
): Promise<OpenListener> {
  const opened: Door[] = []
  try {
    for (const one of isList(listener) ? listener : [listener]) {
      opened.push(await Door.open(one, handler, { ...DEFAULT_BOUNDS, ...bounds }, log))
    }
  } catch (error) {
    await Promise.all(opened.map((door) => door.close(0)))
    throw error
  }
  const [first] = opened
  if (!first) throw new MirrorError('CONFIG_INVALID', 'no address to listen on')
  return {
    url: first.url,
    renew: (certificate) => first.renew(certificate),
    urls: opened.map(({ url }) => url),
    close: async (limitMs) => {
      await Promise.all(opened.map((door) => door.close(limitMs)))
    },
  }
}

/** One address listened on, and its connections. */
class Door {
  static async open(
    listen: Address | SecureAddress,
    handler: Handler,
    bounds: ListenerBounds,
    log: Log,
  ): Promise<Door> {
    const secure = isSecure(listen) ? listen : undefined
    const place = placeOf(isSecure(listen) ? listen.address : listen)
    const name = nameOf(place)
    const options: http.ServerOptions = {
      headersTimeout: bounds.headersTimeoutMs,
      // Of headers and body together, whatever its length. How slow a body may be is watched in request-body.ts.
      requestTimeout: 0,
      keepAliveTimeout: bounds.keepAliveTimeoutMs,
      maxHeaderSize: bounds.maxHeaderBytes,
      // Node looks for late headers only this often.
      connectionsCheckingInterval: Math.min(5000, Math.ceil(bounds.headersTimeoutMs / 4)),
    }
    const server = secure
      ? makeSecureServer(name, {
          ...options,
          cert: secure.cert,
          key: secure.key,
          ...(secure.clientCa && { ca: secure.clientCa, requestCert: true, rejectUnauthorized: false }),
          handshakeTimeout: bounds.headersTimeoutMs,
        })
      : http.createServer(options)
    server.maxConnections = bounds.maxConnections
    server.maxRequestsPerSocket = bounds.maxRequestsPerConnection
    server.timeout = bounds.inactivityTimeoutMs

    const door = new Door(server, name, secure !== undefined)
    server.on('request', door.#serve(handler))
    // Whoever asks leave before sending a body gets it from the endpoint that takes one, and else an answer at once.
    server.on('checkContinue', door.#serve(handler))
    if ('path' in place) await removeStaleSocket(place.path)
    try {
      server.listen(place)
      await once(server, 'listening')
    } catch (cause) {
      throw new MirrorError('CONFIG_INVALID', `cannot listen on ${name}: ${reasonOf(cause)}`, { cause })
    }
    // Too many open files, and the like: one connection is lost, which is no reason to stop serving the others.
    server.on('error', (error) => log.warn({ error }, `a connection to ${name} could not be accepted`))
    return door
  }

  readonly #server: http.Server | https.Server
  readonly #name: string
  readonly #isTls: boolean
  /** Every connection, below TLS, and how many requests it has under way. */
  readonly #connections = new Set<Socket>()
  readonly #underWay = new Map<Socket, number>()
  #isClosing = false
  #closed: Promise<void> | undefined

  private constructor(server: http.Server | https.Server, name: string, isTls: boolean) {
    this.#server = server
    this.#name = name
    this.#isTls = isTls
    server.on('connection', (socket: Socket) => {
      this.#connections.add(socket)
      socket.once('close', () => this.#connections.delete(socket))
    })
    server.on(isTls ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#underWay.set(socket, 0)
      socket.once('close', () => this.#underWay.delete(socket))
    })
  }

  get url(): string {
    const taken = this.#server.address()
    if (taken === null || typeof taken === 'string') return this.#name
    const host = taken.family === 'IPv6' ? `[${taken.address}]` : taken.address
    return `${this.#isTls ? 'https' : 'http'}://${host}:${taken.port}`
  }

  renew({ cert, key, clientCa }: Certificate): void {
    checkCertificate(this.#name, { cert, key, clientCa })
    if (this.#server instanceof https.Server)
      this.#server.setSecureContext({ cert, key, ...(clientCa && { ca: clientCa }) })
  }

  async close(limitMs: number): Promise<void> {
    this.#isClosing = true
    this.#closed ??= new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#underWay.keys()) this.#closeIfIdle(socket)
    const cut = () => {
      for (const socket of this.#connections) socket.destroy()
    }
    const limit = Number.isFinite(limitMs) ? setTimeout(cut, limitMs) : undefined
    await this.#closed
    clearTimeout(limit)
  }

  #serve(handler: Handler): http.RequestListener {
    return (req, res) => {
      const { socket } = req
      this.#underWay.set(socket, (this.#underWay.get(socket) ?? 0) + 1)
      if (this.#isClosing) res.shouldKeepAlive = false
      res.once('close', () => {
        const before = this.#underWay.get(socket)
        if (before === undefined) return
        this.#underWay.set(socket, before - 1)
        if (this.#isClosing) this.#closeIfIdle(socket)
      })
      handler(req, res)
    }
  }

  #closeIfIdle(socket: Socket): void {
    if (this.#underWay.get(socket) === 0) socket.destroySoon()
  }
}

function isList(listener: Listener): listener is readonly (Address | SecureAddress)[] {
  return Array.isArray(listener)
}

function isSecure(listen: Address | SecureAddress): listen is SecureAddress {
  return typeof listen !== 'string' && 'cert' in listen
}

type Place = Exclude<Address, string>

function placeOf(address: Address): Place {
  if (typeof address !== 'string') return address
  if (address.startsWith('unix:') && address.length > 'unix:'.length) return { path: address.slice('unix:'.length) }
  const match = /^(?:\[([0-9a-f:.%]+)\]|([^:[\]\s/]+)):(\d{1,5})$/i.exec(address)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host !== undefined && port <= 65_535) return { host, port }
  throw new MirrorError(
    'CONFIG_INVALID',
    `cannot listen on "${address}": neither host:port, [ipv6]:port nor unix:/path`,
  )
}

/** For messages. */
function nameOf(place: Place): string {
  if ('path' in place) return `unix:${place.path}`
  return place.host.includes(':') ? `[${place.host}]:${place.port}` : `${place.host}:${place.port}`
}

/** @throws MirrorError CONFIG_INVALID for a certificate that cannot be shown on `name`, or not with this key. */
export function checkCertificate(name: string, { cert, key, clientCa }: Certificate): void {
  try {
    createSecureContext({ cert, key, ...(clientCa && { ca: clientCa }) })
  } catch (cause) {
    throw unfitCertificate(name, cause)
  }
}

function makeSecureServer(name: string, options: https.ServerOptions): https.Server {
  try {
    return https.createServer(options)
  } catch (cause) {
    throw unfitCertificate(name, cause)
  }
}

function unfitCertificate(name: string, cause: unknown): MirrorError {
  const message = `cannot listen on ${name} with this cert and key: ${reasonOf(cause)}`
  return new MirrorError('CONFIG_INVALID', message, { cause })
}

/**
 * A process that was killed leaves its socket file behind, and nobody can listen there again. It is removed only if it
 * is a socket and nobody answers on it.
 */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await fs.lstat(path).catch(() => undefined)
  if (!found) return
  if (!found.isSocket())
    throw new MirrorError('CONFIG_INVALID', `cannot listen on unix:${path}: it is a file of another kind`)
  const caller = net.connect(path)
  try {
    await once(caller, 'connect')
  } catch (cause) {
    if (hasCode(cause, 'ECONNREFUSED')) await fs.rm(path, { force: true })
    return // any other reason will be met, and named, when we listen
  } finally {
    caller.destroy()
  }
  throw new MirrorError('CONFIG_INVALID', `cannot listen on unix:${path}: another process answers there`)
}

function reasonOf(cause: unknown): string {
  if (hasCode(cause, 'EADDRINUSE')) return 'the address is in use'
  if (hasCode(cause, 'EACCES')) return 'permission denied'
  if (hasCode(cause, 'EADDRNOTAVAIL')) return 'this machine has no such address'
  return cause instanceof Error ? cause.message : String(cause)
}
