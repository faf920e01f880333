import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { ImportResult } from '../../src/bundle/bundles.js'
import type { JobDetails } from '../../src/mirror/jobs.js'
import { openMirror, type RunningMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { signer } from './volumes.js'

interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: what it must be is what tests find out
  readonly body: any
}

export type EndedJob = JobDetails & { readonly result: ImportResult }

/** A mirror without a network, which trusts `signer`, and may be ended and started again. */
export class ClosedSite {
  #mirror: RunningMirror

  static async start(settings: Record<string, unknown> = {}): Promise<ClosedSite> {
    const data = (settings.data as string | undefined) ?? (await temporaryDirectory())
    const key = join(await temporaryDirectory(), 'site-a.pub')
    await writeFile(key, signer.publicKey)
    const whole = {
      offline: true,
      ...settings,
      data,
      bundles: { trustedKeys: [key], ...(settings.bundles ?? {}) },
    }
    const site = new ClosedSite(whole, await openMirror(whole))
    onTestFinished(() => site.#mirror.close())
    return site
  }

  readonly #settings: Record<string, unknown> & { data: string }

  private constructor(settings: Record<string, unknown> & { data: string }, mirror: RunningMirror) {
    this.#settings = settings
    this.#mirror = mirror
  }

  get mirror(): RunningMirror {
    return this.#mirror
  }

  get data(): string {
    return this.#settings.data
  }

  async restart(changes: object = {}): Promise<void> {
    await this.#mirror.close()
    this.#mirror = await openMirror({ ...this.#settings, ...changes })
  }

  async api(method: string, path: string, body?: object): Promise<Answer> {
    const response = await fetch(`${this.#mirror.operatorUrl}${path}`, {
      method,
      ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    return { status: response.status, body: (await response.json()) as Answer['body'] }
  }

  /** Imports, and waits for the end. */
  async import(path: string, more: object = {}): Promise<EndedJob> {
    return await this.ended(await this.begin('import', { path, ...more }))
  }

  /** Answers the job's id. */
  async begin(what: 'import' | 'export', request: object): Promise<string> {
    const { body, status } = await this.api('POST', `/api/bundles/${what}`, request)
    if (status !== 202) throw new Error(JSON.stringify(body))
    return body.id
  }

  /** Waits until a job has done so much. */
  async hasDone(id: string, bytes: number): Promise<void> {
    await until(async () => (await this.api('GET', `/api/jobs/${id}`)).body.doneBytes >= bytes)
  }

  async ended(id: string): Promise<EndedJob> {
    let job: Answer['body']
    await until(async () => {
      job = (await this.api('GET', `/api/jobs/${id}`)).body
      return job.state !== 'running'
    })
    return job as unknown as EndedJob
  }

  /** Uuids of what clients see. */
  async listed(): Promise<string[]> {
    const images = (await (await fetch(`${this.#mirror.url}/images`)).json()) as { uuid: string }[]
    return images.map(({ uuid }) => uuid).sort()
  }

  async file(uuid: string): Promise<Buffer> {
    const response = await fetch(`${this.#mirror.url}/images/${uuid}/file`)
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    return Buffer.from(await response.arrayBuffer())
  }
}
