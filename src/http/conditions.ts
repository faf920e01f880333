import { Refusal } from './answers.js'
import type { Context } from './every-request.js'

/** What a representation can be recognised by. */
export interface Validators {
  /** Without quotes. `undefined` where the bytes cannot be vouched for. */
  readonly tag: string | undefined
  /** Weak where equal tags do not mean equal bytes: compressed forms. */
  readonly isWeak?: boolean
  /** Compared and sent in whole seconds. */
  readonly modifiedMs?: number | undefined
}

/** `"abc"` or `W/"abc"`. */
export function formatTag(tag: string, isWeak = false): string {
  return `${isWeak ? 'W/' : ''}"${tag}"`
}

/**
 * Sets `ETag` and `Last-Modified`, and answers whether the request is thereby answered: with a 304.
 *
 * Order of evaluation: RFC 9110, 13.2.2. Tags are compared without `W/` and quotes, as sdc-imgapi does, since its own
 * are sent without quotes and clients send them back in either form. [ours] The tag compared is that of the thing asked
 * for; sdc-imgapi compares a file's condition with the manifest's tag (upstream-quirks.md, sdc-imgapi 4).
 *
 * @throws Refusal 412 when `If-Match` or `If-Unmodified-Since` does not hold.
 */
export function isAnsweredByConditions(context: Context, { tag, isWeak, modifiedMs }: Validators): boolean {
  if (tag !== undefined) context.set('ETag', formatTag(tag, isWeak))
  if (modifiedMs !== undefined) context.set('Last-Modified', new Date(modifiedMs).toUTCString())
  const { headers } = context.req

  const ifMatch = headers['if-match']
  const ifNoneMatch = headers['if-none-match']
  if (ifMatch !== undefined) {
    if (!holdsTag(ifMatch, tag)) {
      throw preconditionFailed(`if-match '${ifMatch}' didn't match etag '${tag ?? ''}'`)
    }
  } else if (isLater(modifiedMs, headers['if-unmodified-since']) === true) {
    throw preconditionFailed(`object was modified at '${new Date(modifiedMs ?? 0).toUTCString()}'`)
  }
  const isUnchanged =
    ifNoneMatch !== undefined ? holdsTag(ifNoneMatch, tag) : isLater(modifiedMs, headers['if-modified-since']) === false
  if (!isUnchanged) return false
  context.status = 304
  return true
}

/**
 * Prevents a change whose client has said of what it is to be a change: the image's tag, as it is before.
 *
 * @throws Refusal 412 when `If-Match` does not hold, or `If-None-Match` does.
 */
export function requireConditions(context: Context, tag: string): void {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = context.req.headers
  if (ifMatch !== undefined && !holdsTag(ifMatch, tag)) {
    throw preconditionFailed(`if-match '${ifMatch}' didn't match etag '${tag}'`)
  }
  if (ifNoneMatch !== undefined && holdsTag(ifNoneMatch, tag)) {
    throw preconditionFailed(`if-none-match '${ifNoneMatch}' matched etag '${tag}'`)
  }
}

/**
 * Whether a `Range` may be honoured although the client makes it depend on its copy being current: only if its `If-Range`
 * is, exactly, the tag or the date that we give; a weak one never is. Source: RFC 9110, 13.1.5.
 */
export function isRangeCurrent(ifRange: string | undefined, { tag, modifiedMs }: Validators): boolean {
  if (ifRange === undefined) return true
  // Unquoted tags are sdc-imgapi's own, which a client may have from before.
  if (tag !== undefined && (ifRange === formatTag(tag) || ifRange === tag)) return true
  return modifiedMs !== undefined && Date.parse(ifRange) === wholeSeconds(modifiedMs)
}

/** Whether a list such as `"a", W/"b", c` or `*` holds the tag. `*` stands for anything that exists, also without a tag. */
function holdsTag(list: string, tag: string | undefined): boolean {
  if (list.trim() === '*') return true
  return list.split(',').some((item) => tag !== undefined && bareTag(item) === tag)
}

function bareTag(item: string): string {
  return item
    .trim()
    .replace(/^W\//, '')
    .replace(/^"(.*)"$/, '$1')
}

/** Whether it was modified after the date in the header; `undefined` when either is missing or is no date. */
function isLater(modifiedMs: number | undefined, header: string | undefined): boolean | undefined {
  if (modifiedMs === undefined || header === undefined) return undefined
  const sinceMs = Date.parse(header)
  return Number.isNaN(sinceMs) ? undefined : wholeSeconds(modifiedMs) > sinceMs
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000
}

function preconditionFailed(message: string): Refusal {
  return new Refusal(412, 'PreconditionFailed', message)
}
