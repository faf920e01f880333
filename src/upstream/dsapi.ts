import { isMirrorError, MirrorError } from '../errors.js'
import type { Statement } from '../images/claim.js'
import type { FileChunks } from '../images/file-chunks.js'
import type { Uuid } from '../images/uuid.js'
import { abortable } from '../parts/abortable.js'
import { isJsonObject } from '../parts/json-object.js'
import { SingleFlight } from '../parts/single-flight.js'
import { fileUrls } from './dsapi-file-urls.js'
import { type FileQuestion, getFile } from './get-file.js'
import { getJson, getJsonArray } from './get-json.js'
import type { UnguardedUpstream } from './guarded-upstream.js'
import type { HttpClient } from './http-client.js'
import type { Line } from './line.js'
import { ListingBuilder } from './listing-builder.js'
import { conditionsOf, listingValidatorOf, scopeOf } from './listing-validator.js'
import { makeHttpClient } from './make-http-client.js'
import { NotAsked } from './not-asked.js'
import { readManifest, Selection } from './read-manifest.js'
import type { FileBody, FileRequest, Icon, Listing, Priority } from './upstream.js'
import type { UpstreamOptions } from './upstream-options.js'

/** An image that cannot be asked for by uuid is looked up in the list; for so long the same one will do. */
const LIST_FRESH_MS = 30_000

/** The whole list, before any filter, as it was heard last. */
interface HeardList {
  readonly statements: ReadonlyMap<Uuid, Statement>
  readonly validator: string | undefined
  readonly heardMs: number
}

/**
 * A server of the older dataset API: Joyent's of old, dsapid, smartos-image-server, or no server at all but a directory
 * behind a web server, with the list as its index ("poor man's").
 */
export class DsapiUpstream implements UnguardedUpstream {
  readonly name: string
  readonly url: string
  readonly #selection: Selection
  readonly #client: HttpClient
  readonly #options: UpstreamOptions
  readonly #listUrl: URL
  /** What files and manifests are below: the list's address without the slash or the index file at its end. */
  readonly #base: string
  readonly #scope: string
  readonly #lookUps = new SingleFlight<'list', HeardList>()
  /** A look-up belongs to all who wait for it: only closing ends it. */
  readonly #closing = new AbortController()
  #heard: HeardList | undefined

  constructor(options: UpstreamOptions, line: Line) {
    this.name = options.name
    this.#options = options
    this.#listUrl = new URL(options.url)
    this.#listUrl.username = ''
    this.#listUrl.password = ''
    this.#listUrl.hash = ''
    this.url = this.#listUrl.href
    this.#base = options.url.origin + options.url.pathname.replace(/\/[^/]*\.(json|html?)$/, '').replace(/\/+$/, '')
    this.#selection = new Selection(options)
    this.#scope = scopeOf(options, this.url)
    this.#client = makeHttpClient(options, line)
  }

  get instance(): string | undefined {
    return this.#client.instance
  }

  async listImages({ validator, signal }: { validator?: string | undefined; signal: AbortSignal }) {
    const list = await this.#getList(validator, 'background', signal)
    if (list === 'unchanged') return 'unchanged'
    return {
      ...this.#selection.narrow(list.builder.statements.values()),
      setAside: list.builder.setAside,
      listedCount: list.builder.listedCount,
      validator: list.validator,
      // The protocol knows no paging.
      incomplete: undefined,
    } satisfies Listing
  }

  whyLeftOut(statement: Statement): string | undefined {
    return this.#selection.whyLeftOut(statement)
  }

  async getImage(uuid: Uuid, signal: AbortSignal): Promise<Statement | undefined> {
    const url = new URL(`${this.#base}/${uuid}`)
    const value = await this.#askByUuid(url, signal)
    if (value === undefined) return (await this.#lookUp(signal)).statements.get(uuid)
    if (value.uuid !== uuid) throw this.#client.blame.misbehaved(url, 'answers another image')
    const reading = readManifest(value, this.#options)
    if ('reason' in reading) throw this.#client.blame.misbehaved(url, `its manifest is unusable: ${reading.reason}`)
    return reading
  }

  async openFile({ statement, fileIndex, ...request }: FileRequest): Promise<FileBody> {
    const { uuid, files } = statement.manifest
    const file = files[fileIndex]
    if (!file) throw new RangeError(`image ${uuid} has no file ${fileIndex}`)
    const whereabouts = statement.whereabouts[fileIndex]
    const urls = fileUrls(this.#base, uuid, whereabouts, (url) => this.#client.allowsFilesFrom(url))
    const question: FileQuestion = { ...request, expectedBytes: file.sizeBytes }
    const failures: MirrorError[] = []
    for (const url of urls) {
      try {
        return await getFile(this.#client, url, question)
      } catch (error) {
        if (!isMirrorError(error)) throw error
        failures.push(error)
      }
    }
    const last = failures.at(-1)
    if (!last) {
      throw new MirrorError(
        'UPSTREAM_MISBEHAVED',
        `${this.name}: image ${uuid} has neither a path nor a url we may use`,
      )
    }
    if (failures.length === 1 || last instanceof NotAsked) throw last
    const [message, cause] = [failures.map((failure) => failure.message).join('; then '), last]
    throw new MirrorError(last.code, message, { cause, retryAfterMs: last.retryAfterMs })
  }

  /** The protocol knows no icons. */
  async getIcon(): Promise<Icon | undefined> {
    return undefined
  }

  /** Nor hashes of chunks. */
  async getChunks(): Promise<FileChunks | undefined> {
    return undefined
  }

  close(): Promise<void> {
    this.#closing.abort(new MirrorError('CLOSING', `${this.name} is being closed`))
    return this.#client.close()
  }

  /**
   * Answers `undefined` where images cannot be had by uuid, or this one cannot: a directory behind a web server answers
   * a page, a redirect, 403 or 404; smartos-image-server says `"404 Not Found"`, dsapid `Not found` labelled as JSON.
   */
  /** Whatever it says of an image that nobody has: an answer is what we want. */
  async check(signal: AbortSignal): Promise<string> {
    await this.#askByUuid(new URL(`${this.#base}/00000000-0000-0000-0000-000000000000`), signal)
    return 'DSAPI'
  }

  async #askByUuid(url: URL, signal: AbortSignal) {
    try {
      const value = await getJson(this.#client, url, { absent: [403, 404], signal })
      return isJsonObject(value) ? value : undefined
    } catch (error) {
      if (isMirrorError(error, 'UPSTREAM_MISBEHAVED')) return undefined
      throw error
    }
  }

  /** The whole list, asked for once by all who need it at the same time. */
  async #lookUp(signal: AbortSignal): Promise<HeardList> {
    const heard = this.#heard
    if (heard && Date.now() - heard.heardMs < LIST_FRESH_MS) return heard
    const looking = this.#lookUps.do('list', async () => {
      const list = await this.#getList(heard?.validator, 'client', this.#closing.signal)
      if (list === 'unchanged' && heard) this.#heard = { ...heard, heardMs: Date.now() }
      return this.#heard!
    })
    // Whoever leaves must not leave a failure behind that nobody handles.
    looking.catch(() => {})
    return abortable(looking, signal)
  }

  async #getList(asked: string | undefined, priority: Priority, signal: AbortSignal) {
    const builder = new ListingBuilder((value) => readManifest(value, this.#options))
    const headers = conditionsOf(asked, this.#scope)
    const budget = { remainingBytes: this.#options.limits.listBytes }
    const answer = await getJsonArray(this.#client, this.#listUrl, { headers, priority, signal, budget }, (element) =>
      builder.add(element),
    )
    if (answer === 'unchanged') return answer
    builder.endPage()
    const validator = listingValidatorOf(answer, this.#scope)
    this.#heard = { statements: builder.statements, validator, heardMs: Date.now() }
    return { builder, validator }
  }
}
