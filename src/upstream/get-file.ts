import { type Digest, parseDigest } from '../images/digest.js'
import { parseContentRange } from './content-range.js'
import type { Answer, Asker } from './http-client.js'
import { tlsIdentityOf } from './tls-identities.js'
import type { FileBody, LivePriority } from './upstream.js'

export interface FileQuestion {
  readonly expectedBytes: number
  /** Less than `expectedBytes`, or 0. */
  readonly startBytes: number
  /** Exclusive; without it, `expectedBytes`. More than `startBytes`, save for an empty file. */
  readonly endBytes?: number | undefined
  readonly validator?: string | undefined
  readonly priority?: LivePriority | undefined
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/**
 * Gets the bytes of a file whose size is known. Everything that headers can give away is checked before the first byte:
 * an error page or a login form sent with 200 has another length, and bytes that somebody compressed on the way are not
 * the file's.
 * @throws MirrorError as HttpClient.ask; UPSTREAM_MISBEHAVED when this cannot be the file.
 */
export async function getFile(client: Asker, url: URL, question: FileQuestion): Promise<FileBody> {
  const { expectedBytes, startBytes, endBytes = expectedBytes, priority, validator, signal } = question
  const isRange = startBytes > 0 || endBytes < expectedBytes
  const answer = await client.ask(url, {
    kind: 'file',
    headers: {
      ...question.headers,
      // Closed: what a server makes of an open range is less sure (anchore/stereoscope#695).
      ...(isRange && { range: `bytes=${startBytes}-${endBytes - 1}` }),
      ...(isRange && validator !== undefined && { 'if-range': validator }),
    },
    statuses: isRange ? [200, 206] : [200],
    priority,
    signal,
  })
  try {
    const isPart = answer.status === 206
    const complaint =
      complaintAboutCoding(answer) ?? (isPart ? complaintAboutPart : complaintAboutWhole)(answer, question)
    if (complaint) throw client.blame.misbehaved(answer.url, complaint)
    return {
      startBytes: isPart ? startBytes : 0,
      endBytes: isPart ? endBytes : expectedBytes,
      totalBytes: isPart || answer.header('content-length') !== undefined ? expectedBytes : undefined,
      // Of a part, it is the part's by RFC 1864 and the whole file's by dsapid.
      contentMd5: isPart ? undefined : contentMd5Of(answer),
      validator: strongEtagOf(answer),
      location: client.blame.place(answer.url),
      tls: tlsIdentityOf(answer.url),
      body: answer.body,
    }
  } catch (error) {
    answer.body.destroy()
    throw error
  }
}

/** Of a Content-MD5 header; `undefined` where there is none, or an empty one (dsapid, when it does not know). */
export function contentMd5Of(answer: Answer): Digest | undefined {
  const value = answer.header('content-md5')
  if (value === undefined || !/^[A-Za-z0-9+/]{22}==$/.test(value)) return undefined
  return parseDigest('md5', Buffer.from(value, 'base64').toString('hex'))
}

/** Quoted and not weak, as If-Range demands (RFC 9110, 13.1.5). sdc-imgapi's is not quoted; it knows no ranges either. */
function strongEtagOf(answer: Answer): string | undefined {
  const value = answer.header('etag')
  return value !== undefined && /^"[\x21\x23-\x7e]{0,250}"$/.test(value) ? value : undefined
}

function complaintAboutCoding(answer: Answer): string | undefined {
  const encoding = answer.header('content-encoding')
  return encoding !== undefined && encoding.toLowerCase() !== 'identity' ? 'the file is sent in an encoding' : undefined
}

function complaintAboutWhole(answer: Answer, { expectedBytes }: FileQuestion): string | undefined {
  const length = answer.header('content-length')
  if (length !== undefined) {
    return Number(length) === expectedBytes ? undefined : `sends ${length} bytes, the file has ${expectedBytes}`
  }
  const type = answer.header('content-type')
  return type?.toLowerCase().startsWith('text/html') ? 'sends a page, not the file' : undefined
}

function complaintAboutPart(
  answer: Answer,
  { expectedBytes, startBytes, endBytes = expectedBytes, validator }: FileQuestion,
): string | undefined {
  const text = answer.header('content-range')
  const range = parseContentRange(text)
  const asked = `bytes ${startBytes}-${endBytes - 1}/${expectedBytes}`
  if (range?.startBytes !== startBytes || range.endBytes !== endBytes || range.totalBytes !== expectedBytes) {
    return `sends ${text ? JSON.stringify(text) : 'no range'}, asked for was "${asked}"`
  }
  const length = answer.header('content-length')
  if (length !== undefined && Number(length) !== endBytes - startBytes) {
    return `sends ${length} bytes as "${asked}"`
  }
  const etag = strongEtagOf(answer)
  return validator !== undefined && etag !== undefined && etag !== validator ? 'the file has changed' : undefined
}
