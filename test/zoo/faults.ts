import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'

/** One request for an image file, as the misbehaving server sees it. */
export interface FileAsked {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly socket: Socket
  /** The file as it was published. */
  readonly file: Buffer
  /** How often the file was asked for, this time included. */
  readonly attempt: number
  /** The offset of a `Range: bytes=N-...`, or 0. */
  readonly start: number
  /** The end of a `Range: bytes=N-M`, exclusive, or the file's. */
  readonly end: number
  /** An address where nobody must ever be seen: a listener that counts. */
  readonly forbidden: string
}

export interface Fault {
  readonly name: string
  /** Whether a patient client gets the right bytes from this server in the end, with nobody's help. */
  readonly isSurvivable: boolean
  serve(asked: FileAsked): void
}

const survivable: Fault[] = []
const fatal: Fault[] = []
const survives = (name: string, serve: Fault['serve']) => survivable.push({ name, isSurvivable: true, serve })
const ruins = (name: string, serve: Fault['serve']) => fatal.push({ name, isSurvivable: false, serve })

const wholeLength = (file: Buffer) => ({ 'content-type': 'application/octet-stream', 'content-length': file.length })
const half = (file: Buffer) => Math.floor(file.length / 2)

/** Answers rightly, with or without a range. */
export function serveHonestly({ response, file, start, end }: FileAsked): void {
  const part = file.subarray(start, end)
  const range = { 'content-range': `bytes ${start}-${end - 1}/${file.length}` }
  if (part.length < file.length) response.writeHead(206, { ...wholeLength(part), ...range })
  else response.writeHead(200, wholeLength(file))
  response.end(part)
}

/** Sends headers, then these bytes, and then does something rude. */
function sendThen(asked: FileAsked, bytes: Buffer, rudeness: () => void): void {
  asked.response.writeHead(200, wholeLength(asked.file))
  asked.response.flushHeaders()
  if (bytes.length === 0) setImmediate(rudeness)
  else asked.response.write(bytes, () => setImmediate(rudeness))
}

function flipped(file: Buffer, at: number): Buffer {
  const copy = Buffer.from(file)
  copy[at]! ^= 0x01
  return copy
}

function send(
  asked: FileAsked,
  status: number,
  headers: Record<string, string | number>,
  body: string | Buffer = '',
): void {
  asked.response.writeHead(status, headers)
  asked.response.end(body)
}

function sendRaw({ socket }: FileAsked, ...parts: (string | Buffer)[]): void {
  for (const part of parts) socket.write(part)
  socket.end()
}

const cut = ({ socket }: FileAsked) => socket.resetAndDestroy()

// The connection breaks.
ruins('resets before it answers', cut)
ruins('resets behind the headers', (asked) => sendThen(asked, Buffer.alloc(0), () => cut(asked)))
ruins('resets after one byte, and begins anew each time', (asked) =>
  sendThen(asked, asked.file.subarray(0, 1), () => cut(asked)),
)
ruins('resets in the middle, and begins anew each time', (asked) =>
  sendThen(asked, asked.file.subarray(0, half(asked.file)), () => cut(asked)),
)
ruins('resets one byte before the end, and begins anew each time', (asked) =>
  sendThen(asked, asked.file.subarray(0, -1), () => cut(asked)),
)
ruins('closes politely in the middle', (asked) =>
  sendThen(asked, asked.file.subarray(0, half(asked.file)), () => asked.socket.end()),
)
survives('resets in the middle, then honours ranges', (asked) => {
  if (asked.attempt > 1) serveHonestly(asked)
  else sendThen(asked, asked.file.subarray(0, half(asked.file)), () => cut(asked))
})
survives('resets in the middle, then ignores the range', (asked) => {
  if (asked.attempt > 1) serveHonestly({ ...asked, start: 0, end: asked.file.length })
  else sendThen(asked, asked.file.subarray(0, half(asked.file)), () => cut(asked))
})
survives('gives a tenth more with every try', (asked) => {
  const { response, file, start } = asked
  const end = Math.min(file.length, start + Math.ceil(file.length / 10))
  if (start === 0) response.writeHead(200, wholeLength(file))
  else {
    const range = { 'content-range': `bytes ${start}-${file.length - 1}/${file.length}` }
    response.writeHead(206, { ...wholeLength(file.subarray(start)), ...range })
  }
  if (end === file.length) response.end(file.subarray(start))
  else response.write(file.subarray(start, end), () => setImmediate(() => cut(asked)))
})

// It falls silent.
ruins('never answers', () => {})
ruins('falls silent behind the headers', (asked) => sendThen(asked, Buffer.alloc(0), () => {}))
ruins('falls silent in the middle', (asked) => sendThen(asked, asked.file.subarray(0, half(asked.file)), () => {}))
ruins('falls silent before the last byte', (asked) => sendThen(asked, asked.file.subarray(0, -1), () => {}))
ruins('promises a body with its 500 and never sends it', (asked) => {
  asked.response.writeHead(500, wholeLength(asked.file))
  asked.response.flushHeaders()
})

// The bytes are wrong.
ruins('flips the first byte', (asked) => send(asked, 200, wholeLength(asked.file), flipped(asked.file, 0)))
ruins('flips a byte in the middle', (asked) =>
  send(asked, 200, wholeLength(asked.file), flipped(asked.file, half(asked.file))),
)
ruins('flips a byte in the last KiB', (asked) =>
  send(asked, 200, wholeLength(asked.file), flipped(asked.file, asked.file.length - 500)),
)
ruins('flips the last byte', (asked) =>
  send(asked, 200, wholeLength(asked.file), flipped(asked.file, asked.file.length - 1)),
)
ruins('sends zeros', (asked) => send(asked, 200, wholeLength(asked.file), Buffer.alloc(asked.file.length)))
ruins('sends the file backwards', (asked) =>
  send(asked, 200, wholeLength(asked.file), Buffer.from(asked.file).reverse()),
)
ruins('sends a block twice and leaves the next one out', (asked) => {
  const copy = Buffer.from(asked.file)
  copy.copy(copy, 8192, 4096, 8192)
  send(asked, 200, wholeLength(asked.file), copy)
})
ruins('flips a byte in the first half, resets, and honours the range', (asked) => {
  if (asked.start > 0) serveHonestly(asked)
  else sendThen(asked, flipped(asked.file, 100).subarray(0, half(asked.file)), () => cut(asked))
})

// The length is wrong.
ruins('has one byte less, and says so', (asked) => {
  const short = asked.file.subarray(0, -1)
  send(asked, 200, wholeLength(short), short)
})
ruins('has one byte more, and says so', (asked) => {
  const long = Buffer.concat([asked.file, Buffer.from('!')])
  send(asked, 200, wholeLength(long), long)
})
ruins('is empty, and says so', (asked) => send(asked, 200, { 'content-length': 0 }))
ruins('ends early without a length', (asked) =>
  sendRaw(asked, 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n', asked.file.subarray(0, half(asked.file))),
)
ruins('sends more than it should without a length', (asked) =>
  sendRaw(asked, 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n', asked.file, Buffer.alloc(70_000)),
)
ruins('ends its chunks early', (asked) => {
  asked.response.writeHead(200)
  asked.response.write(asked.file.subarray(0, half(asked.file)))
  asked.response.end()
})
ruins('leaves its chunks without an end', (asked) => {
  asked.response.writeHead(200)
  asked.response.write(asked.file.subarray(0, half(asked.file)), () => setImmediate(() => cut(asked)))
})
survives('sends all its chunks', (asked) => {
  asked.response.writeHead(200)
  asked.response.end(asked.file)
})
survives('says nothing of the length and closes at the end', (asked) =>
  sendRaw(asked, 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n', asked.file),
)
survives('speaks HTTP/1.0', (asked) =>
  sendRaw(asked, `HTTP/1.0 200 OK\r\nContent-Length: ${asked.file.length}\r\n\r\n`, asked.file),
)
survives('sends more behind the promised length', (asked) =>
  sendRaw(asked, `HTTP/1.1 200 OK\r\nContent-Length: ${asked.file.length}\r\n\r\n`, asked.file, 'and something more'),
)

// It is something else altogether.
const html = '<html><body>Please sign in to the guest network</body></html>'
ruins('shows a page with 200', (asked) =>
  send(asked, 200, { 'content-type': 'text/html', 'content-length': html.length }, html),
)
ruins('shows a page of exactly the right length with 200', (asked) =>
  send(asked, 200, { ...wholeLength(asked.file), 'content-type': 'text/html' }, html.padEnd(asked.file.length, ' ')),
)
ruins('compresses what must not be compressed', (asked) => {
  const body = gzipSync(asked.file)
  send(asked, 200, { ...wholeLength(body), 'content-encoding': 'gzip' }, body)
})
ruins('says that it compressed, with the right length', (asked) =>
  send(asked, 200, { ...wholeLength(asked.file), 'content-encoding': 'gzip' }, asked.file),
)
ruins('speaks no HTTP', (asked) => sendRaw(asked, '220 mail.example.com ESMTP ready\r\n'))
ruins('sends headers without end', (asked) => {
  asked.socket.write('HTTP/1.1 200 OK\r\n')
  const more = () => {
    if (asked.socket.destroyed) return
    asked.socket.write(`x-filler: ${'a'.repeat(4096)}\r\n`, () => setImmediate(more))
  }
  more()
})
ruins('has a negative length', (asked) => sendRaw(asked, 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', asked.file))
ruins('has two lengths', (asked) =>
  sendRaw(asked, `HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: ${asked.file.length}\r\n\r\n`, asked.file),
)
survives('says 103 Early Hints first', (asked) => {
  asked.response.writeEarlyHints({ link: '</style.css>; rel=preload' }, () => serveHonestly(asked))
})
// Allowed by RFC 9110, but undici calls it a bad response; no server is known to do it unasked.
ruins('says 100 Continue although nobody expects it', (asked) => {
  asked.response.writeContinue()
  serveHonestly(asked)
})

// It refuses.
const json = { 'content-type': 'application/json' }
for (const status of [400, 401, 403, 404, 410, 500, 502, 503]) {
  ruins(`answers ${status}`, (asked) => send(asked, status, json, '{"code":"InternalError","message":"boom"}'))
}
ruins('answers 429 with Retry-After', (asked) => send(asked, 429, { ...json, 'retry-after': 120 }, '{}'))
ruins('answers 429 without Retry-After', (asked) => send(asked, 429, json, 'slow down'))
ruins('answers 503 with a date in Retry-After', (asked) =>
  send(asked, 503, { ...json, 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() }, '{}'),
)
ruins('answers 204', (asked) => send(asked, 204, {}))
ruins('answers 304 to an unconditional request', (asked) => send(asked, 304, {}))

// It sends us elsewhere.
ruins('redirects to a host that is not its own', (asked) => send(asked, 302, { location: `${asked.forbidden}/file` }))
ruins('redirects to an address inside the house', (asked) =>
  send(asked, 302, { location: 'http://127.0.0.53:1/latest/' }),
)
ruins('redirects to a local file', (asked) => send(asked, 302, { location: 'file:///etc/passwd' }))
ruins('redirects in a ring', (asked) => send(asked, 302, { location: asked.request.url! }))
ruins('redirects to nowhere', (asked) => send(asked, 302, {}))
survives('redirects once to itself', (asked) => {
  if (asked.request.url!.includes('again')) serveHonestly(asked)
  else send(asked, 307, { location: `${asked.request.url}${asked.request.url!.includes('?') ? '&' : '?'}again=1` })
})

// It is wrong about ranges: each begins with a cut in the middle, so that a range is asked.
function afterACut(asked: FileAsked, serve: () => void): void {
  if (asked.attempt === 1) sendThen(asked, asked.file.subarray(0, half(asked.file)), () => cut(asked))
  else serve()
}
const rangeHeaders = (start: number, end: number, total: number, length: number) => ({
  'content-type': 'application/octet-stream',
  'content-length': length,
  'content-range': `bytes ${start}-${end}/${total}`,
})
ruins('answers a request without range with a part', (asked) => {
  const { file } = asked
  send(asked, 206, rangeHeaders(0, half(file) - 1, file.length, half(file)), file.subarray(0, half(file)))
})
ruins('shifts the range by one', (asked) =>
  afterACut(asked, () => {
    const { file, start } = asked
    const rest = file.subarray(start + 1)
    send(asked, 206, rangeHeaders(start + 1, file.length - 1, file.length, rest.length), rest)
  }),
)
ruins('is wrong about the total', (asked) =>
  afterACut(asked, () => {
    const { file, start } = asked
    const rest = file.subarray(start)
    send(asked, 206, rangeHeaders(start, file.length - 1, file.length + 1, rest.length), rest)
  }),
)
ruins('labels the first bytes as the range', (asked) =>
  afterACut(asked, () => {
    const { file, start } = asked
    const length = file.length - start
    send(asked, 206, rangeHeaders(start, file.length - 1, file.length, length), file.subarray(0, length))
  }),
)
ruins('answers 206 without saying which part', (asked) =>
  afterACut(asked, () =>
    send(asked, 206, wholeLength(asked.file.subarray(asked.start)), asked.file.subarray(asked.start)),
  ),
)
ruins('answers 416 to every range', (asked) =>
  afterACut(asked, () => send(asked, 416, { 'content-range': `bytes */${asked.file.length}` })),
)
survives('spoils what we have already, the second time', (asked) =>
  afterACut(asked, () => send(asked, 200, { ...wholeLength(asked.file), etag: '"other"' }, flipped(asked.file, 7))),
)

/** Every way to misbehave that we know of, by the name one would say aloud. */
export const FAULTS: readonly Fault[] = [...survivable, ...fatal]
