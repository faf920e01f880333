import { type FileQuestion, getFile } from '../get-file.js'
import { readBytes } from '../get-json.js'
import type { HttpClient } from '../http-client.js'
import type { FileBody } from '../upstream.js'
import type { BundlePlace, SmallFile, SmallFileQuestion } from './bundle-place.js'

/** Volumes behind any web server that serves files. */
export class WebPlace implements BundlePlace {
  readonly #client: HttpClient

  constructor(client: HttpClient) {
    this.#client = client
  }

  async read(url: URL, question: SmallFileQuestion): Promise<SmallFile | 'unchanged' | undefined> {
    const { conditions = {}, limitBytes, priority, signal } = question
    const statuses = Object.keys(conditions).length > 0 ? [200, 304, 404] : [200, 404]
    const answer = await this.#client.ask(url, { kind: 'json', headers: conditions, statuses, priority, signal })
    if (answer.status === 200) {
      const bytes = await readBytes(this.#client, answer, { limitBytes, signal })
      return { bytes, header: answer.header }
    }
    await answer.discard()
    return answer.status === 304 ? 'unchanged' : undefined
  }

  open(url: URL, question: FileQuestion): Promise<FileBody> {
    return getFile(this.#client, url, question)
  }

  misbehaved(url: URL, reason: string, options?: { cause?: unknown }) {
    return this.#client.blame.misbehaved(url, reason, options)
  }

  unreachable(url: URL, reason: string, options?: { cause?: unknown }) {
    return this.#client.blame.unreachable(url, reason, options)
  }

  close(): Promise<void> {
    return this.#client.close()
  }
}
