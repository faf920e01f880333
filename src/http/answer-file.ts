import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { ByteStream, OpenFile } from '../mirror/mirror.js'
import { Refusal } from './answers.js'
import { type ByteRange, parseByteRanges } from './byte-ranges.js'
import { isAnsweredByConditions, isRangeCurrent, type Validators } from './conditions.js'
import type { Context } from './every-request.js'
import { sendBytes } from './send-bytes.js'

/** A file to answer with, whatever protocol names it. */
export interface AnswerableFile {
  /** For messages, such as `image 01b2c898-...`. */
  readonly name: string
  readonly sizeBytes: number
  /** Of a file that is held and verified; `undefined` while it is not. */
  readonly held: { readonly tag: string; readonly keptMs: number; readonly md5?: string | undefined } | undefined
  /** Wrong bytes of it have left lately: whoever goes on with a part from then would complete a wrong file. */
  readonly isSpoilt: boolean
  /** As `FileOnOffer.open`. */
  open(signal: AbortSignal): Promise<OpenFile>
}

/**
 * How long the headers wait for the first byte behind them. A small file's first byte comes only when all of it is
 * verified: if it fails until then, the client gets a status that says so instead of a cut connection. After this long
 * the headers go out alone, so that no client gives up waiting for them.
 */
const FIRST_BYTE_GRACE_MS = 1000

const OCTETS = 'application/octet-stream'

/**
 * The bytes of a file: always with their length, never chunked, never encoded, since imgadm takes them as they come and
 * refuses a file without its length. Conditions and ranges are honoured.
 *
 * What is not held is not vouched for yet, also where its digest is its name: it has no ETag and does not offer ranges
 * (those asked for are honoured all the same, and end in verified bytes like everything else); it has no Last-Modified,
 * and no cache between is to keep it.
 *
 * @throws Refusal 412, 416; 503 for one who goes on with what was wrong; MirrorError as `file.open`.
 */
export async function answerFile(context: Context, file: AnswerableFile): Promise<void> {
  const validators: Validators = { tag: file.held?.tag, modifiedMs: file.held?.keptMs }
  context.set('Cache-Control', cacheControlOf(file, context))
  if (isAnsweredByConditions(context, validators)) return
  if (file.held) context.set('Accept-Ranges', 'bytes')

  if (context.method === 'HEAD') {
    // Describes; a fetch is not started for it. Range is for GET only (RFC 9110, 14.2).
    context.status = 200
    context.set({ 'Content-Type': OCTETS, 'Content-Length': String(file.sizeBytes) })
    setContentMd5(context, file.held?.md5)
    return
  }

  const range = context.req.headers.range
  const parts =
    range !== undefined && isRangeCurrent(context.req.headers['if-range'] as string | undefined, validators)
      ? parseByteRanges(range, file.sizeBytes)
      : 'whole'
  if (file.isSpoilt && parts !== 'whole' && isContinuation(context)) {
    throw new Refusal(
      503,
      'RemoteSourceError',
      `bytes of ${file.name} that left earlier were wrong: throw away what you have of it, and start over`,
    )
  }
  if (parts === 'unsatisfiable') {
    throw new Refusal(
      416,
      'RequestedRangeNotSatisfiableError',
      `no byte of "${range}" is within ${file.sizeBytes} bytes`,
      {
        headers: { 'Content-Range': `bytes */${file.sizeBytes}` },
      },
    )
  }

  const opened = await file.open(context.state.departed)
  try {
    if (isHandedOver(context, opened, parts)) await handOver(context, file, opened, parts)
    else await sendFile(context, file, opened, parts)
  } finally {
    await opened.close()
  }
}

/**
 * Whether this may be a client who was cut in the middle and goes on where it was, like `wget` by itself or `curl -C -`:
 * an open range, and no If-Range to say what the first part was. Another mirror is none: it verifies the whole.
 *
 * A 200 would not help: wget then skips what it has. Neither would a 416, which it takes for "nothing more to come".
 */
function isContinuation(context: Context): boolean {
  const { range = '', 'if-range': ifRange, 'user-agent': agent = '' } = context.req.headers
  return ifRange === undefined && /^\s*bytes\s*=\s*[1-9]\d*-\s*$/i.test(range) && !agent.startsWith('imgapi-mirror/')
}

/**
 * A held file's bytes never change under its address (IMGAPI makes the files of an activated image immutable), and a
 * day bounds what an operator's change of mind may take to spread. Not held: a cache might join what it got before a
 * cut with bytes from another fetch. `no-transform` in both: the sha1 is of exactly these bytes. imgadm ignores it all.
 */
function cacheControlOf(file: AnswerableFile, { state }: Context): string {
  // What a user may see is not for those who share a cache with them.
  const whose = state.principal === undefined ? 'public' : 'private'
  return file.held ? `${whose}, max-age=86400, no-transform` : 'no-store, no-transform'
}

/** Of the whole file, as IMGAPI means it: never on a part, where a client would compare it with the part. */
function setContentMd5(context: Context, hex: string | undefined): void {
  if (hex !== undefined) context.set('Content-MD5', Buffer.from(hex, 'hex').toString('base64'))
}

/**
 * Whether a proxy that wants to send held files itself may: what it would see differently than we did, we send. That are two
 * conditions which nginx compares with its own tag, that of the file on its disk; ranges that we took for no ranges; and several at
 * once, of which it has its own opinion.
 */
function isHandedOver({ req, state }: Context, { path }: OpenFile, parts: readonly ByteRange[] | 'whole'): boolean {
  if (state.handOverTo === undefined || path === undefined) return false
  const { 'if-match': ifMatch, 'if-unmodified-since': ifUnmodified, range } = req.headers
  if (ifMatch !== undefined || ifUnmodified !== undefined) return false
  return parts === 'whole' ? range === undefined : parts.length === 1
}

/** Says where the file lies, to a proxy that sends it, or the part of it that was asked for, in our place. */
async function handOver(
  context: Context,
  { sizeBytes }: AnswerableFile,
  opened: OpenFile,
  parts: readonly ByteRange[] | 'whole',
): Promise<void> {
  context.status = 200
  context.set({ 'Content-Type': OCTETS, 'X-Accel-Redirect': `${context.state.handOverTo}${opened.path}` })
  if (parts === 'whole') setContentMd5(context, opened.md5?.hex)
  // It says so itself, and would say it twice.
  context.remove('Accept-Ranges')
  await sendBytes(context, 0, [])
  // The proxy's to send, and ours to count: what a client gets does not depend on who hands it out.
  const [part = { startBytes: 0, endBytes: sizeBytes }] = parts === 'whole' ? [] : parts
  context.state.sentBytes = part.endBytes - part.startBytes
}

async function sendFile(
  context: Context,
  { sizeBytes }: AnswerableFile,
  opened: OpenFile,
  parts: readonly ByteRange[] | 'whole',
): Promise<void> {
  const { departed } = context.state
  const [only, ...others] = parts === 'whole' ? [] : parts
  const streams = new Set<ByteStream>()
  // Waiting for its next chunk would hold a stream as long as the upstream stalls.
  const leave = () => {
    for (const stream of streams) stream.destroy()
  }
  const bytesOf = (part: ByteRange): ByteStream => {
    departed.throwIfAborted()
    const stream = opened.stream(part.startBytes, part.endBytes)
    streams.add(stream)
    return stream
  }
  departed.addEventListener('abort', leave, { once: true })
  try {
    if (parts === 'whole') {
      const body = await begun(bytesOf({ startBytes: 0, endBytes: sizeBytes }), departed, sizeBytes)
      context.status = 200
      context.set('Content-Type', OCTETS)
      setContentMd5(context, opened.md5?.hex)
      await sendBytes(context, sizeBytes, body, opened.pieceSpent)
    } else if (only !== undefined && others.length === 0) {
      const partBytes = only.endBytes - only.startBytes
      const body = await begun(bytesOf(only), departed, partBytes)
      context.status = 206
      context.set({ 'Content-Type': OCTETS, 'Content-Range': contentRange(only, sizeBytes) })
      await sendBytes(context, partBytes, body, opened.pieceSpent)
    } else {
      const boundary = randomBytes(12).toString('hex')
      const headers = parts.map((part) => partHeader(boundary, part, sizeBytes))
      const trailer = Buffer.from(`\r\n--${boundary}--\r\n`)
      const lengthBytes = parts.reduce(
        (sum, part, place) => sum + (headers[place]?.length ?? 0) + part.endBytes - part.startBytes,
        trailer.length,
      )
      const body = await begun(multipart(bytesOf, parts, headers, trailer), departed, lengthBytes)
      context.status = 206
      context.set('Content-Type', `multipart/byteranges; boundary=${boundary}`)
      await sendBytes(context, lengthBytes, body, opened.pieceSpent)
    }
  } finally {
    departed.removeEventListener('abort', leave)
    leave()
  }
}

function contentRange({ startBytes, endBytes }: ByteRange, sizeBytes: number): string {
  return `bytes ${startBytes}-${endBytes - 1}/${sizeBytes}`
}

function partHeader(boundary: string, part: ByteRange, sizeBytes: number): Buffer {
  const lines = [`--${boundary}`, `Content-Type: ${OCTETS}`, `Content-Range: ${contentRange(part, sizeBytes)}`, '', '']
  return Buffer.from(`\r\n${lines.join('\r\n')}`)
}

/** One part after the other. A part's header goes out with its first byte, so that a header alone is no beginning. */
async function* multipart(
  bytesOf: (part: ByteRange) => ByteStream,
  parts: readonly ByteRange[],
  headers: readonly Buffer[],
  trailer: Buffer,
): AsyncGenerator<Uint8Array> {
  for (const [place, part] of parts.entries()) {
    let header = headers[place]
    for await (const chunk of bytesOf(part)) {
      if (header) yield header
      header = undefined
      yield chunk
    }
  }
  yield trailer
}

/**
 * The same bytes, once the first of them has come or the grace is over. An empty body is waited for to its end, since
 * its headers alone would be the whole answer.
 *
 * @throws what `body` fails with before its first byte.
 */
async function begun(
  body: AsyncIterable<Uint8Array>,
  departed: AbortSignal,
  sizeBytes: number,
): Promise<AsyncIterableIterator<Uint8Array>> {
  const chunks = body[Symbol.asyncIterator]()
  const first = chunks.next()
  first.catch(() => {}) // if it fails after the grace, the reader below meets it
  const isOver = new AbortController()
  const grace = delay(FIRST_BYTE_GRACE_MS, undefined, { signal: AbortSignal.any([departed, isOver.signal]) })
  grace.catch(() => {})
  try {
    await (sizeBytes === 0 ? first : Promise.race([first, grace]))
  } finally {
    isOver.abort()
  }
  return continued(first, chunks)
}

/** `rest`, with what was taken of it before it. */
function continued(
  first: Promise<IteratorResult<Uint8Array>>,
  rest: AsyncIterator<Uint8Array>,
): AsyncIterableIterator<Uint8Array> {
  let taken: typeof first | undefined = first
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    next() {
      const result = taken ?? rest.next()
      taken = undefined
      return result
    },
    return: async () => (await rest.return?.()) ?? { done: true, value: undefined },
  }
}
