import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'

/** An image as a test makes it up: the manifest as that server stores it, and the bytes of its files. */
export interface ServedImage {
  manifest: Record<string, unknown>
  /** `undefined` for a file that is missing on the server's disk. */
  files: (Buffer | undefined)[]
  icon?: { contentType: string; bytes: Buffer }
}

export interface RecordedRequest {
  readonly method: string
  /** The request target as it was sent. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
}

/** A server on a port of its own. */
export interface TestServer {
  readonly url: string
  /** Everything that was asked of it, in order. */
  readonly requests: RecordedRequest[]
  /** Connections it ever took. */
  readonly connectionCount: number
  /** Those that stand now. */
  readonly openConnectionCount: number
  close(): Promise<void>
}

export interface ServeOptions {
  /** Serves https. With `clientCa`, only to clients with a certificate of that authority. */
  tls?: { cert: string; key: string; clientCa?: string }
  /** Answers 401 to everybody else. */
  credentials?: { username: string; password: string }
  /** Sees every request first; answers true for one that it has taken over. */
  intercept?: (request: IncomingMessage, response: ServerResponse) => boolean
}

export type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => void

/** Starts a server on loopback. Closing it cuts what is under way, as some of these servers never end an answer. */
export async function serve(handler: Handler, options: ServeOptions = {}): Promise<TestServer> {
  const requests: RecordedRequest[] = []
  const sockets = new Set<Socket>()
  let connectionCount = 0
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url = '', headers } = request
    requests.push({ method, url, headers })
    response.on('error', () => {})
    if (options.credentials && headers.authorization !== basic(options.credentials)) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="images"' }).end()
    } else if (!options.intercept?.(request, response)) {
      try {
        handler(request, response, new URL(url, 'http://server'))
      } catch (error) {
        // A path that cannot be decoded, which restify and Go refuse in the same way.
        if (!(error instanceof URIError)) throw error
        response.writeHead(400).end()
      }
    }
  }
  const { tls } = options
  const server = tls
    ? createTlsServer(
        {
          cert: tls.cert,
          key: tls.key,
          ...(tls.clientCa && { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
        },
        onRequest,
      )
    : createServer(onRequest)
  server.on('connection', (socket: Socket) => {
    connectionCount += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    requests,
    get connectionCount() {
      return connectionCount
    },
    get openConnectionCount() {
      return sockets.size
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** A server that nobody may ever contact; whatever reaches it is in `requests`, or at least in `connectionCount`. */
export function startTrap(): Promise<TestServer> {
  return serve((_request, response) => response.writeHead(200).end('caught'))
}

export function basic({ username, password }: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

/** Answers JSON in one piece. `text` is what is sent; whatever is no text is made JSON of. */
export function answerJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
) {
  const text = typeof body === 'string' ? body : JSON.stringify(body, null, 2)
  const length = String(Buffer.byteLength(text))
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': length, ...headers }).end(text)
}
