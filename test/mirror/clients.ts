import http from 'node:http'
import { onTestFinished } from 'vitest'
import { sha1 } from '../support/made-up-images.js'
import type { RunningMirror } from '../support/running-mirror.js'

/** What `/status` says, as far as these tests look at it. */
export interface FullStatus {
  readonly imagesListed: number
  readonly imagesHeld: number
  readonly blobsKept: number
  readonly upstreams: readonly {
    readonly name: string
    readonly state: string
    readonly images: number
    readonly setAside: readonly { readonly what: string; readonly reason: string }[]
    readonly lastError: string | null
    readonly lastHeardAt: string | null
  }[]
  readonly flights: readonly { readonly readers: number; readonly receivedBytes: number }[]
  readonly conflicts: readonly {
    readonly uuid: string
    readonly winner: string
    readonly loser: string
    readonly differences: readonly string[]
    readonly firstSeenAt: string
  }[]
}

export async function statusOf({ operatorUrl }: RunningMirror): Promise<FullStatus> {
  return (await (await fetch(`${operatorUrl}/status`)).json()) as FullStatus
}

/** The names of the listed images, in order. */
export async function namesListed({ url }: RunningMirror): Promise<string[]> {
  const response = await fetch(`${url}/images`)
  return ((await response.json()) as { name: string }[]).map(({ name }) => name)
}

export async function getJson({ url }: RunningMirror, path: string) {
  const response = await fetch(`${url}${path}`)
  return { status: response.status, body: (await response.json()) as Record<string, unknown> & { message: string } }
}

/** Downloads a whole file. */
export async function fileSha1(mirror: { readonly url: string }, path: string): Promise<string> {
  return sha1((await Download.whole(mirror, path)).bytes)
}

/** A download being watched while it is under way. It reads as fast as it can, on a connection of its own. */
export class Download {
  /** Resolves with the headers. */
  static async start(
    { url }: { readonly url: string },
    path: string,
    headers: Record<string, string> = {},
  ): Promise<Download> {
    return await new Promise((resolve, reject) => {
      const request = http.get(`${url}${path}`, { agent: false, headers }, (response) =>
        resolve(new Download(request, response)),
      )
      request.on('error', reject)
      onTestFinished(() => void request.destroy())
    })
  }

  /** The whole file of an image, headers and all. */
  static async whole(mirror: { readonly url: string }, path: string, headers: Record<string, string> = {}) {
    const download = await Download.start(mirror, path, headers)
    const bytes = await download.complete
    return { status: download.status, headers: download.headers, bytes }
  }

  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  receivedBytes = 0
  /** Resolves with the body; rejects when the connection is cut before its end. */
  readonly complete: Promise<Buffer>
  readonly #request: http.ClientRequest
  #changed = () => {}

  private constructor(request: http.ClientRequest, response: http.IncomingMessage) {
    this.#request = request
    this.status = response.statusCode!
    this.headers = response.headers
    const pieces: Buffer[] = []
    this.complete = new Promise((resolve, reject) => {
      response.on('data', (piece: Buffer) => {
        pieces.push(piece)
        this.receivedBytes += piece.length
        this.#changed()
      })
      response.on('end', () => resolve(Buffer.concat(pieces)))
      response.on('error', reject)
    })
    this.complete.catch(() => {})
  }

  /** Waits until so many bytes have come. */
  async has(sizeBytes: number): Promise<void> {
    while (this.receivedBytes < sizeBytes) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  leave(): void {
    this.#request.destroy()
  }
}
