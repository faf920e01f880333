import type { Stats } from 'node:fs'
import { constants, type FileHandle, open } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { hasCode, isMirrorError, MirrorError } from '../../errors.js'
import { AnswerBody } from '../answer-body.js'
import type { FileQuestion } from '../get-file.js'
import type { FileBody } from '../upstream.js'
import type { BundlePlace, SmallFile, SmallFileQuestion } from './bundle-place.js'

/** Never through a link, and never waiting for whoever might write into a pipe. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Volumes in directories of this machine: a stick, or a share. Whoever pulls it out is an upstream that is away. */
export class LocalPlace implements BundlePlace {
  readonly #name: string
  #isClosed = false

  /** @param name the upstream's. */
  constructor(name: string) {
    this.#name = name
  }

  async read(
    url: URL,
    { conditions, limitBytes, signal }: SmallFileQuestion,
  ): Promise<SmallFile | 'unchanged' | undefined> {
    const opened = await this.#open(url, signal)
    if (!opened) return undefined
    const { file, stats } = opened
    try {
      if (stats.size > limitBytes) throw this.misbehaved(url, `has ${stats.size} bytes; we take at most ${limitBytes}`)
      const etag = `"${stats.size.toString(36)}-${stats.ino.toString(36)}-${stats.mtimeMs.toString(36)}"`
      if (conditions?.['if-none-match'] === etag) return 'unchanged'
      const bytes = Buffer.alloc(stats.size)
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
      if (bytesRead < bytes.length) throw this.unreachable(url, 'it became shorter while it was read')
      return { bytes, header: (name) => (name === 'etag' ? etag : undefined) }
    } catch (cause) {
      throw this.#failure(url, cause)
    } finally {
      await file.close()
    }
  }

  async open(url: URL, { endBytes, expectedBytes, signal, startBytes }: FileQuestion): Promise<FileBody> {
    const opened = await this.#open(url, signal)
    if (!opened) throw this.misbehaved(url, 'is not there')
    const { file, stats } = opened
    if (stats.size !== expectedBytes) {
      await file.close()
      throw this.misbehaved(url, `has ${stats.size} bytes, the bundle says ${expectedBytes}`)
    }
    const end = endBytes ?? expectedBytes
    const source = file.createReadStream({ start: startBytes, end: end - 1, signal })
    const explain = (cause: unknown) => (signal.aborted ? (signal.reason as Error) : this.#failure(url, cause))
    const body = new AnswerBody(source, { explain, pay: () => undefined, onClose: () => {} })
    return {
      startBytes,
      endBytes: end,
      totalBytes: expectedBytes,
      contentMd5: undefined,
      validator: undefined,
      location: url.href,
      body,
    }
  }

  misbehaved(url: URL, reason: string, options?: { cause?: unknown }) {
    return new MirrorError('UPSTREAM_MISBEHAVED', `${this.#name}: ${fileURLToPath(url)}: ${reason}`, options)
  }

  unreachable(url: URL, reason: string, options?: { cause?: unknown }) {
    return new MirrorError('UPSTREAM_UNREACHABLE', `${this.#name}: ${fileURLToPath(url)}: ${reason}`, options)
  }

  async close(): Promise<void> {
    this.#isClosed = true
  }

  async #open(url: URL, signal: AbortSignal): Promise<{ file: FileHandle; stats: Stats } | undefined> {
    signal.throwIfAborted()
    if (this.#isClosed) throw new MirrorError('CLOSING', `${this.#name} is being closed`)
    let file: FileHandle
    try {
      file = await open(fileURLToPath(url), OPEN_FLAGS)
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return undefined
      throw this.#failure(url, cause)
    }
    try {
      const stats = await file.stat()
      if (!stats.isFile()) throw this.misbehaved(url, 'is no regular file')
      return { file, stats }
    } catch (cause) {
      await file.close()
      throw this.#failure(url, cause)
    }
  }

  #failure(url: URL, cause: unknown): MirrorError {
    if (isMirrorError(cause)) return cause
    if (hasCode(cause, 'ELOOP')) return this.misbehaved(url, 'is a link, and those are not followed', { cause })
    return this.unreachable(url, cause instanceof Error ? cause.message : String(cause), { cause })
  }
}
