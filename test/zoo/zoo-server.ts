import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Fault, type FileAsked, serveHonestly } from './faults.js'

export interface ZooServer {
  readonly url: string
  /** How often the file of an image was asked for. */
  attempts(uuid: string): number
  /** The ranges that were asked of a file, in order; the whole file is one, too. */
  ranges(uuid: string): readonly { readonly start: number; readonly end: number }[]
  /** From now on it behaves. */
  behave(): void
  close(): Promise<void>
}

/** An IMGAPI server with a few images, right in everything but in how it gives their files. */
export async function startZooServer(options: {
  /** Files by uuid. */
  images: Readonly<Record<string, Buffer>>
  /** What some of them build on. */
  origins?: Readonly<Record<string, string>>
  fault?: Fault
  forbidden?: string
}): Promise<ZooServer> {
  const { images, forbidden = 'http://127.0.0.1:9' } = options
  let fault = options.fault
  const attempts = new Map<string, number>()
  const ranges: { uuid: string; start: number; end: number }[] = []
  const manifestOf = (uuid: string) => {
    const file = images[uuid]!
    const origin = options.origins?.[uuid]
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
      ...(origin && { origin }),
      files: [{ sha1: createHash('sha1').update(file).digest('hex'), size: file.length, compression: 'none' }],
    }
  }

  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://zoo')
    const [, , uuid, part] = pathname.split('/')
    const file = images[uuid ?? '']
    const answer = (status: number, body: unknown) => {
      const text = JSON.stringify(body)
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      response.end(text)
    }
    if (pathname === '/ping') answer(200, { ping: 'pong', version: '1.0.0', imgapi: true })
    else if (pathname === '/images') answer(200, Object.keys(images).map(manifestOf))
    else if (file && !part) answer(200, manifestOf(uuid!))
    else if (file && part === 'file') {
      const range = /^bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '')
      const start = range ? Number(range[1]) : 0
      const end = range?.[2] ? Number(range[2]) + 1 : file.length
      const attempt = (attempts.get(uuid!) ?? 0) + 1
      attempts.set(uuid!, attempt)
      ranges.push({ uuid: uuid!, start, end })
      const asked: FileAsked = {
        request,
        response,
        socket: request.socket,
        file,
        attempt,
        start,
        end,
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
    attempts: (uuid) => attempts.get(uuid) ?? 0,
    ranges: (uuid) => ranges.filter((range) => range.uuid === uuid),
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
