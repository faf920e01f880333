import type { Uuid } from '../images/uuid.js'
import { isJsonObject } from '../parts/json-object.js'

/** Of a path or url in a manifest; longer ones no server would take. */
const WORDS_LIMIT = 4096
/** JSON can say it, a url cannot. */
const LONE_SURROGATE = /\p{Surrogate}/u

/**
 * Where a DSAPI file may be, in the order to try: its `url` if that leads to an allowed origin, then
 * `<list url>/<uuid>/<path>`. Empty when the manifest says nothing usable.
 *
 * Sources: SmartOS wiki, "Managing Images" (url if present, else path below the list). Manifests in the wild name hosts
 * that are long dead, hosts behind the server's own proxy (dsapid's base_url), or `-automatic-` (smartos-image-server,
 * on disk), so a url that is not one falls back to the path.
 *
 * @param listUrl the address of the list, without a slash at its end.
 * @param whereabouts `{path?, url?}` as JSON, from the v1 manifest: written by strangers, both of them.
 */
export function fileUrls(
  listUrl: string,
  uuid: Uuid,
  whereabouts: string | undefined,
  isAllowed: (url: URL) => boolean,
): URL[] {
  const { url, path } = parseWhereabouts(whereabouts)
  const byUrl = url === undefined ? undefined : resolveUrl(listUrl, url)
  const byPath = path === undefined ? undefined : belowList(listUrl, uuid, path)
  const urls: URL[] = []
  if (byUrl && isAllowed(byUrl)) urls.push(byUrl)
  if (byPath && byPath.href !== urls[0]?.href) urls.push(byPath)
  return urls
}

function parseWhereabouts(whereabouts: string | undefined): { url: string | undefined; path: string | undefined } {
  const told: unknown = JSON.parse(whereabouts ?? '{}')
  const text = (value: unknown) =>
    typeof value === 'string' && value !== '' && value.length <= WORDS_LIMIT ? value : undefined
  return isJsonObject(told) ? { url: text(told.url), path: text(told.path) } : { url: undefined, path: undefined }
}

/** An absolute url as it is, a relative one below the list. A word without a slash, such as `-automatic-`, is neither. */
function resolveUrl(listUrl: string, text: string): URL | undefined {
  if (!text.includes('/') || !URL.canParse(text, `${listUrl}/`)) return undefined
  const url = new URL(text, `${listUrl}/`)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined
  // Credentials come from our configuration, never from a manifest.
  url.username = ''
  url.password = ''
  url.hash = ''
  return url
}

/**
 * Segments are encoded one by one, so that nothing in them can mean anything: smartos-image-server lets `..%2f` climb
 * out of its directory, and a `..` would be taken away by any client on the way.
 */
function belowList(listUrl: string, uuid: Uuid, path: string): URL | undefined {
  const segments = path.split('/')
  const isRefused = (segment: string) => ['', '.', '..'].includes(segment) || /[\0\\]/.test(segment)
  if (segments.some(isRefused) || LONE_SURROGATE.test(path)) return undefined
  return new URL(`${listUrl}/${uuid}/${segments.map(encodeURIComponent).join('/')}`)
}
