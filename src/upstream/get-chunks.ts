import { isMirrorError } from '../errors.js'
import type { FileChunks } from '../images/file-chunks.js'
import type { ImageFile } from '../images/manifest.js'
import type { Clock } from '../parts/clock.js'
import { isJsonObject } from '../parts/json-object.js'
import { readJson } from './get-json.js'
import type { Answer, HttpClient } from './http-client.js'
import type { Priority } from './upstream.js'

/** How servers say that they do not know the path, or have nothing there. */
const NO_CHUNKS = [400, 404, 405, 406, 410, 501]
/** What a mirror like us calls itself in `Server`, unless a proxy in front of it has taken that away. */
const OUR_NAME = /^imgapi-mirror\//
/** For so long, a server that is no mirror is not asked again: it may become one. */
const NO_CHUNKS_MS = 10 * 60 * 1000
const LEAST_CHUNK_BYTES = 64 * 1024
const MOST_CHUNK_BYTES = 64 * 1024 * 1024
/** Of the hash of one chunk in JSON: 64 digits, quotes, comma, and a line of its own. */
const HASH_BYTES = 80
const FRAME_BYTES = 4096
/** Enough for the chunks of a file of 26 TB in 64 MiB each, or of 400 GB in 1 MiB. */
const DOCUMENT_BYTES = 32 * 1024 * 1024

export interface ChunksQuestion {
  readonly file: ImageFile
  readonly headers: Readonly<Record<string, string>>
  readonly priority: Priority
  readonly signal: AbortSignal
}

/** Asks an upstream that may be a mirror like us for the chunk hashes of files it holds. */
export class ChunkReader {
  readonly #client: HttpClient
  readonly #clock: Clock
  /** By the steady clock. Until then the upstream is known to have none, of any file. */
  #noneUntilMs = 0

  constructor(client: HttpClient, clock: Clock) {
    this.#client = client
    this.#clock = clock
  }

  /**
   * Answers `undefined` when there are none. They fit the size and digests of `file`.
   * @throws MirrorError as HttpClient.ask; UPSTREAM_MISBEHAVED when a mirror like us answers chunks of another file.
   */
  async get(url: URL, question: ChunksQuestion): Promise<FileChunks | undefined> {
    if (this.#clock.steadyMs() < this.#noneUntilMs) return undefined
    const { headers, priority, signal } = question
    let isMirror = false
    try {
      const statuses = [200, ...NO_CHUNKS]
      const answer = await this.#client.ask(url, { kind: 'json', headers, statuses, priority, signal })
      isMirror = OUR_NAME.test(answer.header('server') ?? '')
      const found = answer.status === 200 ? await this.#read(answer, question) : await answer.discard()
      // A mirror's "no" is about this file, which it does not hold; anybody else's about all files.
      if (!found && !isMirror) this.#rememberNone()
      return found ?? undefined
    } catch (error) {
      if (isMirror || !isMirrorError(error, 'UPSTREAM_MISBEHAVED')) throw error
      // Whatever else a server makes of a path that it does not know is no offence: we only tried.
      this.#rememberNone()
      return undefined
    }
  }

  async #read(answer: Answer, { file, signal }: ChunksQuestion): Promise<FileChunks> {
    const count = Math.ceil(file.sizeBytes / LEAST_CHUNK_BYTES)
    const limitBytes = Math.min(FRAME_BYTES + HASH_BYTES * count, DOCUMENT_BYTES)
    const chunks = parseChunks(await readJson(this.#client, answer, { limitBytes, signal }), file)
    if (typeof chunks === 'string') throw this.#client.blame.misbehaved(answer.url, chunks)
    return chunks
  }

  #rememberNone(): void {
    this.#noneUntilMs = this.#clock.steadyMs() + NO_CHUNKS_MS
  }
}

/** The form is that of src/http/imgapi/get-image-chunks.ts. Answers what is wrong with it, if anything is. */
function parseChunks(value: unknown, file: ImageFile): FileChunks | string {
  if (!isJsonObject(value)) return 'its chunk hashes are no object'
  const { size, sha1, sha256, md5, chunk_size: chunkBytes, algorithm, chunks } = value
  if (size !== file.sizeBytes) return `gives chunks of ${JSON.stringify(size)} bytes, the file has ${file.sizeBytes}`
  if (!isHex(sha1, 40) || !isHex(sha256, 64) || !isHex(md5, 32)) return 'its digests are none'
  const digests = { sha1, sha256, md5 }
  const other = file.digests.find(({ algorithm, hex }) => digests[algorithm] !== hex)
  if (other) return `gives chunks of a file with another ${other.algorithm}`
  if (algorithm !== 'sha256') return 'hashes its chunks in a way we do not know'
  const isSize = Number.isInteger(chunkBytes) && Number(chunkBytes) >= LEAST_CHUNK_BYTES
  if (typeof chunkBytes !== 'number' || !isSize || chunkBytes > MOST_CHUNK_BYTES) return 'has chunks of an odd size'
  const count = Math.ceil(file.sizeBytes / chunkBytes)
  if (!Array.isArray(chunks) || chunks.length !== count) return `does not give the hashes of ${count} chunks`
  if (!chunks.every((chunk) => isHex(chunk, 64))) return 'has hashes of chunks that are none'
  return { sizeBytes: file.sizeBytes, ...digests, chunkBytes, chunks }
}

function isHex(value: unknown, length: number): value is string {
  return typeof value === 'string' && value.length === length && /^[0-9a-f]*$/.test(value)
}
