import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Fault, type FileAsked, serveHonestly } from './faults.js'

export interface ZooServer {
  readonly url: string
  /** How often the file was asked for. */
  attempts(): number
  /** From now on it behaves. */
  behave(): void
  close(): Promise<void>
}

/** An IMGAPI server with one image, right in everything but in how it gives the file. */
export async function startZooServer(options: {
  uuid: string
  file: Buffer
  fault?: Fault
  forbidden?: string
}): Promise<ZooServer> {
  const { uuid, file, forbidden = 'http://127.0.0.1:9' } = options
  let fault = options.fault
  let attempts = 0
  const manifest = manifestOf(uuid, file)
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://zoo')
    const answer = (status: number, body: unknown) => {
      const text = JSON.stringify(body)
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      response.end(text)
    }
    if (pathname === '/ping') answer(200, { ping: 'pong', version: '1.0.0', imgapi: true })
    else if (pathname === '/images') answer(200, [manifest])
    else if (pathname === `/images/${uuid}`) answer(200, manifest)
    else if (pathname === `/images/${uuid}/file`) {
      const range = /^bytes=(\d+)-/.exec(request.headers.range ?? '')
      const start = range ? Number(range[1]) : 0
      const asked: FileAsked = {
        request,
        response,
        socket: request.socket,
        file,
        attempt: ++attempts,
        start,
        forbidden,
      }
      if (fault) fault.serve(asked)
      else serveHonestly(asked)
    } else answer(404, { code: 'ResourceNotFound', message: `${pathname} does not exist` })
  })
  // Faults leave sockets in every state; none of them is news.
  server.on('connection', (socket) => socket.on('error', () => {}))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    attempts: () => attempts,
    behave: () => {
      fault = undefined
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function manifestOf(uuid: string, file: Buffer) {
  return {
    v: 2,
    uuid,
    owner: '00000000-0000-0000-0000-000000000000',
    name: 'zoo',
    version: '1.0.0',
    state: 'active',
    disabled: false,
    public: true,
    published_at: '2024-01-01T00:00:00.000Z',
    type: 'zone-dataset',
    os: 'smartos',
    files: [{ sha1: createHash('sha1').update(file).digest('hex'), size: file.length, compression: 'none' }],
  }
}
