import type { Readable } from 'node:stream'
import { isMirrorError, MirrorError } from '../../errors.js'
import type { Statement } from '../../images/claim.js'
import type { Uuid } from '../../images/uuid.js'
import type { Upstream } from '../../upstream/upstream.js'
import { invalidParameter, told } from './refusals.js'

/** What a url gives. Whoever gets it ends `body`. */
export interface UrlBody {
  readonly body: Readable
  /** By Content-Length. */
  readonly sizeBytes: number | undefined
}

/** What a client proves to a registry, instead of what configuration knows for it. */
export type RegistryCredentials =
  | { readonly username: string; readonly password: string }
  | { readonly identityToken: string }

/** Where images and files may be fetched from because a client says so. */
export interface SourceOptions {
  /** Origins (scheme, host, port) that configuration allows. */
  readonly origins: ReadonlySet<string>
  /** An IMGAPI server, asked as a configured upstream would be. The caller closes it. */
  readonly openSource: (url: URL) => Upstream
  /** A Docker registry by the name that clients have for it (`docker.io`); `undefined` for one that configuration does not allow. */
  readonly openRegistry?: (host: string, credentials: RegistryCredentials | undefined) => Upstream | undefined
  /**
   * Gets a file by its url, following no redirect.
   * @throws MirrorError DOWNLOAD_REFUSED for whatever is no 200, and when it cannot be reached.
   */
  readonly openUrl: (url: URL, signal: AbortSignal) => Promise<UrlBody>
}

/** Other servers, as far as configuration lets clients name them. Offline there are none. */
export class Sources {
  #options: SourceOptions | undefined

  /** @param options `undefined` when offline. */
  constructor(options: SourceOptions | undefined) {
    this.#options = options
  }

  /** From now on; what is being fetched already goes on. */
  change(options: SourceOptions | undefined): void {
    this.#options = options
  }

  /**
   * Does `work` with the server at `source`, and closes its connections.
   * @throws MirrorError QUERY_INVALID for a source that is none, or not allowed; UPSTREAM_UNREACHABLE offline; what `work` throws.
   */
  async with<Value>(source: string, work: (upstream: Upstream) => Promise<Value>): Promise<Value> {
    const upstream = this.open(source)
    try {
      return await work(upstream)
    } finally {
      await upstream.close()
    }
  }

  /** As `with`, for whoever closes it later. */
  open(source: string): Upstream {
    const url = this.#allowed(source, 'source', /^https?:$/)
    return this.#online.openSource(url)
  }

  /**
   * For whoever closes it later. It is a registry: `Upstream.registry` is there.
   * @throws MirrorError QUERY_INVALID for one that is not allowed; UPSTREAM_UNREACHABLE offline.
   */
  openRegistry(host: string, credentials: RegistryCredentials | undefined): Upstream {
    const upstream = this.#online.openRegistry?.(host, credentials)
    if (upstream) return upstream
    throw invalidParameter(`invalid repo: ${host} is not a registry that this mirror may pull from`, 'repo')
  }

  /** @throws MirrorError QUERY_INVALID, UPSTREAM_UNREACHABLE offline; and as `SourceOptions.openUrl`. */
  async openUrl(text: string, signal: AbortSignal): Promise<UrlBody> {
    if (!text.startsWith('https:')) {
      throw invalidParameter('Only URLs using the https: scheme are supported', 'file_url')
    }
    const url = this.#allowed(text, 'file_url', /^https:$/)
    return await this.#online.openUrl(url, signal)
  }

  get #online(): SourceOptions {
    if (this.#options) return this.#options
    throw new MirrorError('UPSTREAM_UNREACHABLE', 'this mirror is offline and fetches nothing')
  }

  #allowed(text: string, field: string, protocol: RegExp): URL {
    const url = text.length <= 2048 && URL.canParse(text) ? new URL(text) : undefined
    if (!url || !protocol.test(url.protocol)) throw invalidParameter(`invalid ${field}: ${told(text)}`, field)
    if (url.username || url.password) throw invalidParameter(`invalid ${field}: it must not hold credentials`, field)
    if (!this.#online.origins.has(url.origin)) {
      throw invalidParameter(`invalid ${field}: ${url.origin} is not one that this mirror may fetch from`, field)
    }
    return url
  }
}

/** What the remote server says of an image. @throws MirrorError UPSTREAM_UNREACHABLE, UPSTREAM_MISBEHAVED. */
export async function remoteImage(source: Upstream, uuid: Uuid, what: string, signal: AbortSignal): Promise<Statement> {
  const complain = (code: 'UPSTREAM_UNREACHABLE' | 'UPSTREAM_MISBEHAVED', reason: string, cause?: unknown) =>
    new MirrorError(code, `Unable to get manifest for ${what} ${uuid}. Error from remote: ${reason}`, { cause })
  try {
    const statement = await source.getImage(uuid, signal)
    if (statement) return statement
  } catch (error) {
    if (isMirrorError(error, 'UPSTREAM_UNREACHABLE')) throw complain('UPSTREAM_UNREACHABLE', error.message, error)
    if (isMirrorError(error, 'UPSTREAM_MISBEHAVED')) throw complain('UPSTREAM_MISBEHAVED', error.message, error)
    throw error
  }
  throw complain('UPSTREAM_MISBEHAVED', `image ${uuid} not found`)
}
