import { type FieldFailure, MirrorError } from '../../errors.js'
import type { ImportLine } from '../../images/docker/import-line.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import { isJsonObject, type JsonObject } from '../../parts/json-object.js'
import type { Context } from '../every-request.js'
import { stampResponseTime } from '../every-request.js'
import { parseBoolean, requireOperator } from './change-options.js'
import { waitForUs } from './wait-for-us.js'
import type { Desk } from './writing.js'

/** What Docker Hub stands under in a map of credentials that docker sends. */
const HUB_NAMES = ['docker.io', 'https://index.docker.io/v1/']
/** Lines that a client has not taken yet; one that takes none is told no more of it. */
const MOST_WAITING_BYTES = 4 * 1024 * 1024

/**
 * AdminImportDockerImage: brings a Docker image here, layer by layer, and says how it goes, one JSON object on a line, ended by
 * CRLF. What is wrong with the request is an ordinary answer; what goes wrong later, an unknown tag too, is the last line of a 200.
 *
 * Source: sdc-imgapi, lib/docker.js, `adminImportDockerImage`.
 */
export async function importDockerImage(context: Context, { publishing }: Desk, options: ChangeOptions): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  requireOperator(options)
  const [repo, tag, digest] = [query.get('repo'), query.get('tag') || undefined, query.get('digest') || undefined]
  const fields = missing(repo, tag, digest)
  if (repo === null || fields.length > 0) throw new MirrorError('MANIFEST_INVALID', 'missing parameters', { fields })
  const isPublic = parseBoolean(query, 'public') ?? true
  const own = header(context, 'x-registry-auth')
  const all = header(context, 'x-registry-config')
  const credentialsFor = (host: string) => credentialsOf(own ?? entryFor(all, host))
  const { canonicalName, run } = publishing.importDockerImage({ repo, tag, digest, isPublic, credentialsFor }, options)

  const { res, state } = context
  waitForUs(context)
  context.respond = false
  context.status = 200
  context.set('Content-Type', 'application/json')
  context.set('Cache-Control', 'no-store')
  stampResponseTime(context)
  res.flushHeaders()
  const tell = (line: ImportLine) => {
    // It goes on without its client, too.
    if (state.departed.aborted || res.writableLength > MOST_WAITING_BYTES) return
    const text = `${JSON.stringify({ ...line, id: canonicalName })}\r\n`
    state.sentBytes += Buffer.byteLength(text)
    res.write(text)
  }
  await run(tell)
  res.end()
}

function missing(repo: string | null, tag: string | undefined, digest: string | undefined): FieldFailure[] {
  const fields: FieldFailure[] = []
  if (repo === null) fields.push({ field: 'repo', code: 'MissingParameter' })
  if (tag === undefined && digest === undefined) {
    fields.push({ field: 'tag', code: 'MissingParameter', message: 'one of "tag" or "digest" is required' })
  } else if (tag !== undefined && digest !== undefined) {
    fields.push({ field: 'digest', code: 'Invalid', message: 'cannot specify both "tag" and "digest"' })
  }
  return fields
}

/** One that is not what it should be is as good as none, as the reference has it. */
function header({ req }: Context, name: string): JsonObject | undefined {
  const text = req.headers[name]
  if (typeof text !== 'string') return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64').toString())
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function entryFor(config: JsonObject | undefined, host: string): JsonObject | undefined {
  const names = host === 'docker.io' ? HUB_NAMES : [host]
  const entry = names.map((name) => config?.[name]).find((each) => isJsonObject(each))
  return isJsonObject(entry) ? entry : undefined
}

function credentialsOf(auth: JsonObject | undefined) {
  const { identitytoken, password, username } = auth ?? {}
  if (typeof identitytoken === 'string' && identitytoken !== '') return { identityToken: identitytoken }
  if (typeof username !== 'string' || username === '' || typeof password !== 'string') return undefined
  return { username, password }
}
