import { isUtf8 } from 'node:buffer'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { isMirrorError } from '../errors.js'
import { isDeeperThan } from '../parts/json-object.js'
import type { Answer, Asker, HttpClient } from './http-client.js'
import { JSON_ARRAY_LIMITS, JsonArrayError, JsonArraySplitter, type JsonElement } from './json-array.js'
import type { LivePriority } from './upstream.js'

/** Of one manifest, as of one element of a list. */
const DOCUMENT_BYTES = JSON_ARRAY_LIMITS.elementBytes
/** A body that keeps dripping, always within the stall limit, ends here. */
const DRIPPING_LIMIT_MS = 30 * 60 * 1000

/** How many bytes may still come; several answers may draw on one. */
export interface ByteBudget {
  remainingBytes: number
}

export interface JsonRequest {
  readonly headers?: Readonly<Record<string, string>>
  /** Without it, a client. */
  readonly priority?: LivePriority | undefined
  readonly signal: AbortSignal
}

/**
 * Gets one JSON document of at most 1 MiB, nested at most 32 deep. Answers `undefined` for any of the statuses in
 * `absent`.
 * @throws MirrorError as HttpClient.ask; UPSTREAM_MISBEHAVED when it is not such a document.
 */
export async function getJson(
  client: HttpClient,
  url: URL,
  { headers = {}, priority, signal, absent }: JsonRequest & { absent: readonly number[] },
): Promise<unknown> {
  const answer = await client.ask(url, { kind: 'json', headers, statuses: [200, ...absent], priority, signal })
  if (answer.status !== 200) {
    await answer.discard()
    return undefined
  }
  return await readJson(client, answer, { limitBytes: DOCUMENT_BYTES, signal })
}

/**
 * Reads the body of an answer as one JSON document, nested at most 32 deep.
 * @throws MirrorError UPSTREAM_MISBEHAVED when it is no such document, or longer than `limitBytes`; as its body does.
 */
export async function readJson(
  client: Asker,
  answer: Answer,
  limits: { limitBytes: number; signal: AbortSignal },
): Promise<unknown> {
  const value = parseJson(await readBytes(client, answer, limits))
  if (value === undefined) throw client.blame.misbehaved(answer.url, 'not JSON')
  if (isDeeperThan(value, JSON_ARRAY_LIMITS.depth)) {
    throw client.blame.misbehaved(answer.url, `JSON nested deeper than ${JSON_ARRAY_LIMITS.depth} levels`)
  }
  return value
}

/**
 * Reads the whole body of an answer, without its gzip.
 * @throws MirrorError UPSTREAM_MISBEHAVED when it is longer than `limitBytes`; as its body does.
 */
export async function readBytes(
  client: Asker,
  answer: Answer,
  { limitBytes, signal }: { limitBytes: number; signal: AbortSignal },
): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of decodedBody(client, answer, { remainingBytes: limitBytes }, signal)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/**
 * Gets a JSON array of any length, element by element, and answers its headers once all have come; `unchanged` for a
 * 304, which is an answer only if `headers` made the request conditional.
 * @param budget of the array, on the wire and decoded.
 * @throws MirrorError as HttpClient.ask; UPSTREAM_MISBEHAVED when it is no such array.
 */
export async function getJsonArray(
  client: HttpClient,
  url: URL,
  { headers = {}, priority, signal, budget }: JsonRequest & { budget: ByteBudget },
  onElement: (element: JsonElement) => void,
): Promise<Pick<Answer, 'header'> | 'unchanged'> {
  const isConditional = 'if-none-match' in headers || 'if-modified-since' in headers
  const statuses = isConditional ? [200, 304] : [200]
  const answer = await client.ask(url, { kind: 'json', headers, statuses, priority, signal })
  if (answer.status === 304) {
    await answer.discard()
    return 'unchanged'
  }
  const splitter = new JsonArraySplitter()
  try {
    for await (const chunk of decodedBody(client, answer, budget, signal)) {
      for (const element of splitter.push(chunk)) onElement(element)
    }
    splitter.end()
  } catch (cause) {
    if (!(cause instanceof JsonArrayError)) throw cause
    throw client.blame.misbehaved(answer.url, `not a list: ${cause.message}`, { cause })
  }
  return answer
}

/**
 * The body without its gzip. Counted on both sides of it: a small one may hold gigabytes, and endless empty members hold
 * nothing at all.
 */
async function* decodedBody(
  client: Asker,
  answer: Answer,
  budget: ByteBudget,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const wireBudget: ByteBudget = { remainingBytes: budget.remainingBytes }
  const spend = async function* (source: AsyncIterable<Uint8Array>, from: ByteBudget) {
    const endMs = Date.now() + DRIPPING_LIMIT_MS
    for await (const chunk of source) {
      from.remainingBytes -= chunk.length
      if (from.remainingBytes < 0) throw client.blame.misbehaved(answer.url, 'more bytes than we accept')
      if (Date.now() > endMs) throw client.blame.unreachable(answer.url, `not done after ${DRIPPING_LIMIT_MS} ms`)
      yield chunk
    }
  }
  try {
    yield* spend(
      withoutGzip(client, answer, (source) => spend(source, wireBudget)),
      budget,
    )
  } catch (cause) {
    signal.throwIfAborted()
    if (isMirrorError(cause)) throw cause
    throw client.blame.misbehaved(answer.url, 'damaged gzip', { cause })
  } finally {
    answer.body.destroy()
  }
}

function withoutGzip(
  client: Asker,
  answer: Answer,
  meter: (source: Readable) => AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  const encoding = (answer.header('content-encoding') ?? 'identity').toLowerCase()
  if (encoding === 'identity') return answer.body
  if (encoding === 'gzip' || encoding === 'x-gzip') return pipeline(answer.body, meter, createGunzip(), () => {})
  throw client.blame.misbehaved(answer.url, 'an encoding that we did not ask for')
}

/** `undefined` for what is no JSON in UTF-8. */
function parseJson(text: Buffer): unknown {
  try {
    return isUtf8(text) ? JSON.parse(text.toString('utf8')) : undefined
  } catch {
    return undefined
  }
}
