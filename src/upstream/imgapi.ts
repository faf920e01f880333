import { isMirrorError } from '../errors.js'
import type { Statement } from '../images/claim.js'
import type { Uuid } from '../images/uuid.js'
import { systemClock } from '../parts/clock.js'
import { isJsonObject } from '../parts/json-object.js'
import { ChunkReader } from './get-chunks.js'
import { type FileQuestion, getFile } from './get-file.js'
import { getIcon } from './get-icon.js'
import { type ByteBudget, getJson, getJsonArray } from './get-json.js'
import type { UnguardedUpstream } from './guarded-upstream.js'
import type { Answer, HttpClient } from './http-client.js'
import type { Line } from './line.js'
import { type PageQuery, walkPages } from './list-pages.js'
import { ListingBuilder } from './listing-builder.js'
import { conditionsOf, listingValidatorOf, scopeOf } from './listing-validator.js'
import { makeHttpClient } from './make-http-client.js'
import { readManifest, Selection } from './read-manifest.js'
import type { FileBody, FileRequest, Icon, Listing, Priority } from './upstream.js'
import type { UpstreamOptions } from './upstream-options.js'

const NOBODYS_IMAGE = '00000000-0000-0000-0000-000000000000' as Uuid

/** As imgadm sends it. Without it, sdc-imgapi leaves `channels` out. */
const HEADERS = { 'accept-version': '~2' }

/**
 * A server that speaks IMGAPI: sdc-imgapi, dsapid's IMGAPI side, another mirror like this one.
 *
 * Client queries never reach it: some kill sdc-imgapi (`?public=maybe`). It is asked for its whole list, for images by
 * uuid, for files and icons, and nothing else.
 */
export class ImgapiUpstream implements UnguardedUpstream {
  readonly name: string
  readonly url: string
  readonly #selection: Selection
  readonly #client: HttpClient
  readonly #chunks: ChunkReader
  readonly #options: UpstreamOptions
  /** The server's address up to, not including, `/images`. */
  readonly #base: string
  readonly #channel: string | undefined
  readonly #scope: string

  constructor(options: UpstreamOptions, line: Line) {
    this.name = options.name
    this.#options = options
    this.#base = options.url.origin + options.url.pathname.replace(/\/+$/, '')
    this.#channel = options.channel ?? options.url.searchParams.get('channel') ?? undefined
    this.url = this.#base + (this.#channel === undefined ? '' : `?channel=${encodeURIComponent(this.#channel)}`)
    this.#selection = new Selection(options)
    this.#scope = scopeOf(options, this.url)
    this.#client = makeHttpClient(options, line)
    this.#chunks = new ChunkReader(this.#client, options.clock ?? systemClock)
  }

  get instance(): string | undefined {
    return this.#client.instance
  }

  async listImages({ validator, signal }: { validator?: string | undefined; signal: AbortSignal }) {
    const builder = new ListingBuilder((value) => readManifest(value, this.#options))
    const budget: ByteBudget = { remainingBytes: this.#options.limits.listBytes }
    let firstAnswer: Pick<Answer, 'header'> | 'unchanged' | undefined

    const getPage = async (query: PageQuery | undefined) => {
      builder.startPage(query?.marker)
      const headers = query ? HEADERS : { ...HEADERS, ...conditionsOf(validator, this.#scope) }
      const url = this.#urlOf('/images', query && { marker: query.marker, limit: String(query.limit) })
      const answer = await getJsonArray(
        this.#client,
        url,
        { headers, priority: 'background', signal, budget },
        (element) => builder.add(element),
      )
      firstAnswer ??= answer
      return builder.endPage()
    }
    const walked = await walkPages(getPage)
    if (firstAnswer === 'unchanged' || firstAnswer === undefined) return 'unchanged'
    return {
      ...this.#selection.narrow(builder.statements.values()),
      setAside: builder.setAside,
      listedCount: builder.listedCount,
      validator: walked.isInFirstPage ? listingValidatorOf(firstAnswer, this.#scope) : undefined,
      incomplete: walked.incomplete,
    } satisfies Listing
  }

  whyLeftOut(statement: Statement): string | undefined {
    return this.#selection.whyLeftOut(statement)
  }

  async getImage(uuid: Uuid, signal: AbortSignal): Promise<Statement | undefined> {
    const url = this.#urlOf(`/images/${uuid}`)
    // dsapid's 404 has a body that is no JSON, whatever it is labelled: the status alone counts.
    const value = await getJson(this.#client, url, { headers: HEADERS, absent: [404], signal })
    if (value === undefined) return undefined
    if (!isJsonObject(value) || value.uuid !== uuid) throw this.#client.blame.misbehaved(url, 'answers another image')
    const reading = readManifest(value, this.#options)
    if ('reason' in reading) throw this.#client.blame.misbehaved(url, `its manifest is unusable: ${reading.reason}`)
    return reading
  }

  async openFile({ statement, fileIndex, ...request }: FileRequest): Promise<FileBody> {
    const { uuid, files } = statement.manifest
    const file = files[fileIndex]
    if (!file) throw new RangeError(`image ${uuid} has no file ${fileIndex}`)
    const question: FileQuestion = { ...request, expectedBytes: file.sizeBytes, headers: HEADERS }
    if (fileIndex === 0) return getFile(this.#client, this.#urlOf(`/images/${uuid}/file`), question)

    const ownUrl = this.#urlOf(`/images/${uuid}/file`, { index: String(fileIndex) })
    try {
      const body = await getFile(this.#client, ownUrl, question)
      const md5 = file.digests.find(({ algorithm }) => algorithm === 'md5')
      if (!md5 || !body.contentMd5 || md5.hex === body.contentMd5.hex) return body
      body.body.destroy()
    } catch (error) {
      if (!isMirrorError(error, 'UPSTREAM_MISBEHAVED')) throw error
    }
    // dsapid ignores `index` and sends the first file, which has another length or MD5. Its own name for the others:
    return getFile(this.#client, this.#urlOf(`/images/${uuid}/file${fileIndex}`), question)
  }

  getIcon(uuid: Uuid, signal: AbortSignal): Promise<Icon | undefined> {
    return getIcon(this.#client, this.#urlOf(`/images/${uuid}/icon`), { headers: HEADERS, signal })
  }

  getChunks({ manifest }: Statement, fileIndex: number, signal: AbortSignal, priority: Priority = 'client') {
    const file = manifest.files[fileIndex]
    if (!file) throw new RangeError(`image ${manifest.uuid} has no file ${fileIndex}`)
    const url = this.#urlOf(`/images/${manifest.uuid}/chunks`, { index: String(fileIndex) })
    return this.#chunks.get(url, { file, headers: HEADERS, priority, signal })
  }

  /** Not all of them know /ping: one that answers for an image that nobody has speaks IMGAPI too. */
  async check(signal: AbortSignal): Promise<string> {
    const absent = [400, 403, 404, 405, 501]
    const pong = await getJson(this.#client, this.#urlOf('/ping'), { headers: HEADERS, absent, signal })
    if (isJsonObject(pong) && pong.ping === 'pong') {
      return typeof pong.version === 'string' ? `IMGAPI ${pong.version.slice(0, 32)}` : 'IMGAPI'
    }
    await this.getImage(NOBODYS_IMAGE, signal)
    return 'IMGAPI'
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  #urlOf(path: string, query: Readonly<Record<string, string>> = {}): URL {
    const url = new URL(this.#base + path)
    if (this.#channel !== undefined) url.searchParams.set('channel', this.#channel)
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value)
    return url
  }
}
