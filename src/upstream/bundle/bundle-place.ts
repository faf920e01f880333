import type { MirrorError } from '../../errors.js'
import type { FileQuestion } from '../get-file.js'
import type { FileBody, Priority } from '../upstream.js'

export interface SmallFileQuestion {
  readonly limitBytes: number
  /** If-None-Match and its like. */
  readonly conditions?: Readonly<Record<string, string>>
  readonly priority?: Priority
  readonly signal: AbortSignal
}

export interface SmallFile {
  readonly bytes: Buffer
  /** `etag` and `last-modified`, where there are such. */
  header(name: string): string | undefined
}

/** Where the volumes of a bundle lie: on a web server, or in directories of this machine. Fails as Upstream promises. */
export interface BundlePlace {
  /** `undefined` where there is no such file; `unchanged` only if `conditions` were given. */
  read(url: URL, question: SmallFileQuestion): Promise<SmallFile | 'unchanged' | undefined>
  /** The caller ends the body. A file that is not there is UPSTREAM_MISBEHAVED. */
  open(url: URL, question: FileQuestion): Promise<FileBody>
  /** For messages. */
  misbehaved(url: URL, reason: string, options?: { cause?: unknown }): MirrorError
  unreachable(url: URL, reason: string, options?: { cause?: unknown }): MirrorError
  close(): Promise<void>
}
