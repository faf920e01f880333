import { createHash } from 'node:crypto'
import { contentMd5Of } from './get-file.js'
import type { HttpClient } from './http-client.js'
import type { Icon } from './upstream.js'

/** sdc-imgapi, lib/constants.js, `MAX_ICON_SIZE`. */
export const ICON_BYTES = 128 * 1024

/** How each of the types that IMGAPI allows begins. */
const MAGIC: readonly [Icon['contentType'], Buffer][] = [
  ['image/jpeg', Buffer.from([0xff, 0xd8, 0xff])],
  ['image/gif', Buffer.from('GIF8')],
  ['image/png', Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])],
]

/**
 * Gets an icon; `undefined` when there is none. Its type is what its bytes say: a header could make a browser take a
 * script for a picture.
 * @throws MirrorError as HttpClient.ask; UPSTREAM_MISBEHAVED when it is no icon.
 */
export async function getIcon(
  client: HttpClient,
  url: URL,
  { headers, signal }: { headers: Readonly<Record<string, string>>; signal: AbortSignal },
): Promise<Icon | undefined> {
  const answer = await client.ask(url, {
    kind: 'json',
    headers: { ...headers, accept: '*/*', 'accept-encoding': 'identity' },
    statuses: [200, 404],
    signal,
  })
  if (answer.status === 404) {
    await answer.discard()
    return undefined
  }
  const misbehaved = (reason: string) => client.blame.misbehaved(answer.url, reason)
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of answer.body) {
    sizeBytes += chunk.length
    if (sizeBytes > ICON_BYTES) throw misbehaved(`an icon of more than ${ICON_BYTES} bytes`)
    chunks.push(chunk)
  }
  const bytes = Buffer.concat(chunks)
  const md5 = contentMd5Of(answer)
  if (md5 && createHash('md5').update(bytes).digest('hex') !== md5.hex)
    throw misbehaved('not what its Content-MD5 says')
  const contentType = iconTypeOf(bytes)
  if (!contentType) throw misbehaved('an icon that is neither JPEG, GIF nor PNG')
  return { contentType, bytes }
}

/** By how it begins; `undefined` for what is no icon. */
export function iconTypeOf(bytes: Buffer): Icon['contentType'] | undefined {
  return MAGIC.find(([, magic]) => bytes.subarray(0, magic.length).equals(magic))?.[0]
}
