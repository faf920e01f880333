import { isMirrorError, MirrorError } from '../../errors.js'
import type { Statement } from '../../images/claim.js'
import type { ImportLine } from '../../images/docker/import-line.js'
import { type DockerReference, parseDockerReference } from '../../images/docker/reference.js'
import { isActivated } from '../../images/image-record.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Log } from '../../parts/log.js'
import type { RegistryImage } from '../../upstream/registry-upstream.js'
import type { Upstream } from '../../upstream/upstream.js'
import type { ChangeOptions } from '../publishing.js'
import type { OwnImages } from './own-images.js'
import type { RegistryCredentials, Sources } from './sources.js'

/** Which Docker image, as whom, and who may see it. */
export interface DockerImportRequest {
  readonly repo: string
  /** One of them. */
  readonly tag: string | undefined
  readonly digest: string | undefined
  readonly isPublic: boolean
  /** Answers those for a registry by the name clients have for it (`docker.io`). */
  readonly credentialsFor: (host: string) => RegistryCredentials | undefined
}

export interface DockerImport {
  /** `docker.io/busybox`: every line says it. */
  readonly canonicalName: string
  /**
   * Does it, and tells how it goes. What goes wrong is told as the last line, and thrown only if it is a bug. Nobody who stops
   * listening stops it.
   */
  readonly run: (tell: (line: ImportLine) => void) => Promise<void>
}

export interface DockerImportsOptions {
  readonly own: OwnImages
  readonly sources: Sources
  readonly isOffline: boolean
  readonly find: (uuid: Uuid) => Promise<Manifest | undefined>
  readonly importManifest: (statement: Statement, options: ChangeOptions, source: string) => Promise<Manifest>
  readonly importFile: (
    source: Upstream,
    statement: Statement,
    options: ChangeOptions,
    onProgress: (receivedBytes: number) => void,
  ) => Promise<Manifest>
  readonly activate: (uuid: Uuid, options: ChangeOptions) => Promise<Manifest>
  readonly closing: AbortSignal
  readonly log: Log
}

const AT_ONCE = 8
const RETRY_AFTER_MS = 30_000
/** A line is told of a layer whenever so much more of it has come, as the reference does. */
const TOLD_BYTES = 512 * 1024

/**
 * Docker images brought here because somebody asked, layer by layer, base first: record, file, activation. What is here
 * already, of ours or of an upstream, is taken as it is; what a failure leaves is gone on with by the next who asks.
 */
export class DockerImports {
  readonly #options: DockerImportsOptions
  readonly #underWay = new Set<Promise<void>>()

  constructor(options: DockerImportsOptions) {
    this.#options = options
  }

  /** Resolves when those under way have ended. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#underWay)
  }

  /**
   * @throws MirrorError MANIFEST_INVALID (422 ValidationFailed) for what names no image; QUERY_INVALID for a registry that configuration
   *   does not allow; UPSTREAM_UNREACHABLE offline, or, with `retryAfterMs`, when too much is under way.
   */
  prepare(request: DockerImportRequest, options: ChangeOptions): DockerImport {
    const reference = referenceOf(request)
    const { host, localName } = reference
    if (this.#underWay.size >= AT_ONCE) {
      const complaint = `${AT_ONCE} imports of Docker images are under way already`
      throw new MirrorError('UPSTREAM_UNREACHABLE', complaint, { retryAfterMs: RETRY_AFTER_MS })
    }
    const upstream = this.#options.sources.openRegistry(host, request.credentialsFor(host))
    const run = (tell: (line: ImportLine) => void): Promise<void> => {
      const running = this.#run({ reference, upstream, isPublic: request.isPublic, tell }, options)
      this.#underWay.add(running)
      const over = () => void this.#underWay.delete(running)
      running.then(over, over)
      return running
    }
    return { canonicalName: host === 'docker.io' ? `docker.io/${localName}` : localName, run }
  }

  async #run(job: Job, options: ChangeOptions): Promise<void> {
    const { closing, log } = this.#options
    const { reference, tell, upstream } = job
    const name = `${reference.localName}${reference.tag === undefined ? '@' : ':'}${reference.tag ?? reference.digest}`
    const { account: _account, precondition: _precondition, ...plain } = options
    try {
      closing.throwIfAborted()
      const image = await upstream.registry!.image(reference, closing)
      if (!image) throw new MirrorError('MANIFEST_UNKNOWN', `${name} is not there, or its registry denies it`)
      const sizeBytes = await this.#importLayers(job, image, plain)
      const { configDigest, config, layers, manifest } = image
      tell({
        type: 'create-docker-image',
        config_digest: configDigest,
        head: true,
        image: config,
        image_uuid: layers.at(-1)!.statement.manifest.uuid,
        manifest_digest: manifest.digest,
        manifest_str: manifest.bytes.toString(),
        size: sizeBytes.total,
        dockerImageVersion:
          manifest.mediaType.includes('.v1+') && manifest.mediaType.includes('.docker.') ? '2.1' : '2.2',
      })
      tell({ type: 'status', payload: { status: `Digest: ${manifest.digest}` } })
      const outcome = sizeBytes.isNew ? 'Downloaded newer image for' : 'Image is up to date for'
      tell({ type: 'status', payload: { status: `Status: ${outcome} ${name}` } })
      log.info({ name, digest: manifest.digest, layers: layers.length }, `imported Docker image ${name}`)
    } catch (error) {
      if (!isMirrorError(error)) throw error
      log.warn({ name, err: error }, `Docker image ${name} could not be imported: ${error.message}`)
      tell({ type: 'error', error: { code: wordFor(error), message: error.message } })
    } finally {
      await upstream.close()
    }
  }

  async #importLayers(
    job: Job,
    { layers }: RegistryImage,
    options: ChangeOptions,
  ): Promise<{ total: number; isNew: boolean }> {
    const { reference, tell } = job
    const packed = layers.find(({ statement }) => statement.needsRecompression)
    if (packed) {
      throw new MirrorError(
        'MANIFEST_INVALID',
        `its layer ${packed.digest} is compressed with zstd, which imgadm cannot unpack: let an upstream with "recompress: gzip" offer it`,
      )
    }
    const { localName, tag, digest } = reference
    tell({
      type: 'status',
      payload: { status: `${tag ?? digest}: Pulling from ${localName} (req ${options.author.requestId})` },
    })
    for (const layer of layers) {
      tell({ type: 'status', payload: { id: shortIdOf(layer.digest), progressDetail: {}, status: 'Pulling fs layer' } })
    }
    let total = 0
    let isNew = false
    for (const { statement, digest: layerDigest } of layers) {
      const isBrought = await this.#importLayer(job, statement, shortIdOf(layerDigest), options)
      isNew ||= isBrought
      total += statement.manifest.files[0]!.sizeBytes
    }
    return { total, isNew }
  }

  /** Answers whether it was brought here now. */
  async #importLayer(
    { isPublic, tell, upstream }: Job,
    statement: Statement,
    id: string,
    options: ChangeOptions,
  ): Promise<boolean> {
    const { activate, closing, find, importFile, importManifest, own } = this.#options
    const { uuid } = statement.manifest
    const progress = (status: string) => tell({ type: 'progress', payload: { id, status } })
    closing.throwIfAborted()
    const before = own.get(uuid)
    const isToGoOn = before !== undefined && !isActivated(before.publication.record)
    if (!isToGoOn && (await find(uuid))) {
      progress('Already exists')
      return false
    }
    const total = statement.manifest.files[0]!.sizeBytes
    const start = Math.floor(Date.now() / 1000)
    if (!isToGoOn) await importManifest(asSeenBy(statement, isPublic), options, upstream.url)
    if (!own.get(uuid)?.files.length) {
      progress('Pulling fs layer')
      let toldBytes = 0
      await importFile(upstream, statement, options, (current) => {
        if (current - toldBytes <= TOLD_BYTES) return
        toldBytes = current
        tell({ type: 'progress', payload: { id, status: 'Downloading', progressDetail: { current, total, start } } })
      })
    }
    progress('Download complete')
    closing.throwIfAborted()
    progress('Activating image')
    await activate(uuid, options)
    progress('Pull complete')
    return true
  }
}

interface Job {
  readonly reference: DockerReference
  readonly upstream: Upstream
  readonly isPublic: boolean
  readonly tell: (line: ImportLine) => void
}

/** In the reference's words. */
function referenceOf({ digest, repo, tag }: DockerImportRequest): DockerReference {
  try {
    return parseDockerReference(tag === undefined ? `${repo}@${digest}` : `${repo}:${tag}`)
  } catch (error) {
    if (!isMirrorError(error, 'QUERY_INVALID')) throw error
    throw new MirrorError('MANIFEST_INVALID', error.message, { fields: [{ field: 'repo', code: 'Invalid' }] })
  }
}

function asSeenBy(statement: Statement, isPublic: boolean): Statement {
  const json = JSON.stringify({ ...JSON.parse(statement.manifest.json), public: isPublic })
  return { ...statement, manifest: { ...statement.manifest, json } }
}

function shortIdOf(digest: string): string {
  return digest.slice('sha256:'.length, 'sha256:'.length + 12)
}

/** What clients of the reference have seen in such a line. */
function wordFor({ code }: MirrorError): string {
  if (code === 'MANIFEST_UNKNOWN') return 'ResourceNotFound'
  if (code === 'MANIFEST_INVALID') return 'ValidationFailed'
  if (code === 'STORE_FULL' || code === 'STORE_BROKEN') return 'StorageIsDown'
  return code === 'CLOSING' ? 'ServiceUnavailableError' : 'RemoteSourceError'
}
