import { randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { isMirrorError, MirrorError } from '../../errors.js'
import type { Statement } from '../../images/claim.js'
import { isActivated } from '../../images/image-record.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Log } from '../../parts/log.js'
import { SingleFlight } from '../../parts/single-flight.js'
import type { Upstream } from '../../upstream/upstream.js'
import type { ImportStatus } from '../mirror.js'
import type { ChangeOptions } from '../publishing.js'
import type { OwnImages } from './own-images.js'
import { imageExists } from './refusals.js'
import { remoteImage, type Sources } from './sources.js'

export interface RemoteImportsOptions {
  readonly own: OwnImages
  readonly sources: Sources
  readonly isOffline: boolean
  readonly maxAncestry: number
  /** What we have of an image, asked of upstreams if need be. */
  readonly find: (uuid: Uuid) => Promise<Manifest | undefined>
  /** Brings the record of a remote image here, unactivated. */
  readonly importManifest: (statement: Statement, options: ChangeOptions, source: string) => Promise<Manifest>
  /** Brings its file here. */
  readonly importFile: (source: Upstream, statement: Statement, options: ChangeOptions) => Promise<Manifest>
  readonly activate: (uuid: Uuid, options: ChangeOptions) => Promise<Manifest>
  readonly closing: AbortSignal
  readonly log: Log
}

/** Imports that are under way at once; who asks for one more is told to come back. */
const AT_ONCE = 8
const RETRY_AFTER_MS = 30_000
/** Imports that are remembered for the status. */
const REMEMBERED = 50

interface Job {
  status: ImportStatus
  readonly done: Promise<void>
}

/**
 * Images brought here from another IMGAPI with all they build on, base first, one after the other: record, file, activation. What
 * a failure or the end of the process leaves is not activated and says where it comes from; asked for again, it goes on there.
 */
export class RemoteImports {
  #options: RemoteImportsOptions
  /** By the uuid of the image that was asked for. */
  readonly #underWay = new Map<Uuid, Job>()
  /** Images that several imports build on are brought by one of them. */
  readonly #bringing = new SingleFlight<Uuid, void>()
  readonly #remembered = new LRUCache<Uuid, Job>({ max: REMEMBERED })
  /** Being looked into, and not jobs yet. */
  #starting = 0

  constructor(options: RemoteImportsOptions) {
    this.#options = options
  }

  change(maxAncestry: number): void {
    this.#options = { ...this.#options, maxAncestry }
  }

  /** Newest first. */
  status(): readonly ImportStatus[] {
    return [...this.#remembered.values()].map(({ status }) => status)
  }

  /** Resolves when those under way have ended; the closing signal and the closing of flights end them. */
  async idle(): Promise<void> {
    await Promise.all([...this.#underWay.values()].map(({ done }) => done))
  }

  /**
   * Resolves once all images that are missing here are known to be there; answers the job that brings them. Who asks for an image
   * that is on its way is told of the job under way.
   * @throws MirrorError IMAGE_EXISTS, ORIGIN_INACTIVE, ANCESTRY_BROKEN; UPSTREAM_UNREACHABLE, with `retryAfterMs` when too much is
   *   under way; UPSTREAM_MISBEHAVED; QUERY_INVALID for a source that is not allowed.
   */
  async start(uuid: Uuid, source: string, options: ChangeOptions): Promise<Uuid> {
    const running = this.#underWay.get(uuid)
    if (running) return running.status.jobUuid
    if (!this.#isToGoOn(uuid) && this.#options.own.exists(uuid, this.#options.isOffline)) throw imageExists(uuid)
    if (this.#underWay.size + this.#starting >= AT_ONCE) {
      const complaint = `${AT_ONCE} imports from other servers are under way already`
      throw new MirrorError('UPSTREAM_UNREACHABLE', complaint, { retryAfterMs: RETRY_AFTER_MS })
    }
    const upstream = this.#options.sources.open(source)
    this.#starting++
    try {
      const chain = await this.#missingChain(upstream, uuid)
      // Somebody else may have asked meanwhile.
      const started = this.#underWay.get(uuid) ?? this.#begin(uuid, upstream, chain, options)
      if (started.status.source !== upstream.url) await upstream.close()
      return started.status.jobUuid
    } catch (error) {
      await upstream.close()
      throw error
    } finally {
      this.#starting--
    }
  }

  /** Itself and what it builds on and we lack, base first. */
  async #missingChain(upstream: Upstream, uuid: Uuid): Promise<Statement[]> {
    const { closing, find, maxAncestry } = this.#options
    const chain = [await remoteImage(upstream, uuid, 'image', closing)]
    for (;;) {
      const { origin } = chain[0]!.manifest
      if (origin === undefined) return chain
      if (chain.some(({ manifest }) => manifest.uuid === origin) || chain.length >= maxAncestry) {
        const complaint = `the ancestry of image ${uuid} at ${upstream.url} is a ring or longer than ${maxAncestry} images`
        throw new MirrorError('ANCESTRY_BROKEN', complaint)
      }
      const here = await find(origin)
      if (here?.state === 'active') return chain
      if (here && !this.#isToGoOn(origin)) throw originInactive(origin)
      const statement = await remoteImage(upstream, origin, 'origin image', closing)
      if (statement.manifest.state !== 'active') throw originInactive(origin)
      chain.unshift(statement)
    }
  }

  #begin(uuid: Uuid, upstream: Upstream, chain: readonly Statement[], options: ChangeOptions): Job {
    const jobUuid = randomUUID() as Uuid
    const { account: _account, precondition: _precondition, ...plain } = options
    const images = chain.map(({ manifest }) => manifest.uuid)
    const status = { jobUuid, uuid, source: upstream.url, startedMs: Date.now(), images, imported: 0 }
    const job: Job = {
      status: { ...status, state: 'running', current: undefined, endedMs: undefined, error: undefined },
      done: Promise.resolve().then(() => this.#run(job, upstream, chain, plain)),
    }
    this.#underWay.set(uuid, job)
    this.#remembered.set(jobUuid, job)
    return job
  }

  async #run(job: Job, upstream: Upstream, chain: readonly Statement[], options: ChangeOptions): Promise<void> {
    const { log } = this.#options
    const { images, jobUuid, source, uuid } = job.status
    const facts = { jobUuid, uuid, source, images }
    log.info(facts, `importing image ${uuid} from ${source}: ${images.length} image(s), base first`)
    try {
      for (const [index, statement] of chain.entries()) {
        job.status = { ...job.status, current: statement.manifest.uuid, imported: index }
        await this.#bringing.do(statement.manifest.uuid, () => this.#importOne(upstream, statement, options))
        log.info(facts, `imported image ${statement.manifest.uuid}, ${index + 1} of ${images.length}`)
      }
      job.status = { ...job.status, state: 'done', current: undefined, imported: images.length, endedMs: Date.now() }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      job.status = { ...job.status, state: 'failed', endedMs: Date.now(), error: message }
      if (isMirrorError(error, 'CLOSING')) log.info(facts, `the import of image ${uuid} is interrupted by our closing`)
      else log.error({ ...facts, err: error }, `image ${uuid} could not be imported from ${source}: ${message}`)
    } finally {
      this.#underWay.delete(uuid)
      await upstream.close()
    }
  }

  async #importOne(upstream: Upstream, statement: Statement, options: ChangeOptions): Promise<void> {
    const { activate, closing, importFile, importManifest, own } = this.#options
    const { uuid } = statement.manifest
    closing.throwIfAborted()
    const here = own.get(uuid)
    if (here && isActivated(here.publication.record)) return
    if (!this.#isToGoOn(uuid)) await importManifest(statement, options, upstream.url)
    if (!own.get(uuid)?.files.length) await importFile(upstream, statement, options)
    closing.throwIfAborted()
    await activate(uuid, options)
  }

  /** What an earlier import has begun. */
  #isToGoOn(uuid: Uuid): boolean {
    const publication = this.#options.own.get(uuid)?.publication
    return publication?.importingFrom !== undefined && !isActivated(publication.record)
  }
}

function originInactive(uuid: Uuid): MirrorError {
  return new MirrorError('ORIGIN_INACTIVE', `origin image "${uuid}" is not active`)
}
