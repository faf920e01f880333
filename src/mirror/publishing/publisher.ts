import { createHash, randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { MirrorError } from '../../errors.js'
import type { Statement } from '../../images/claim.js'
import { SNIFF_BYTES, sniffCompression } from '../../images/docker/sniff-compression.js'
import { type ImageRecord, isActivated, stateByFlags } from '../../images/image-record.js'
import type { Compression, Manifest } from '../../images/manifest.js'
import { parseUuid, UNSET_OWNER, type Uuid } from '../../images/uuid.js'
import type { ValidationRules } from '../../images/validate-manifest.js'
import { isJsonObject, type JsonObject } from '../../parts/json-object.js'
import type { Log } from '../../parts/log.js'
import type { OpenBlob } from '../../store/blob-store.js'
import type { HeldFile, IconType } from '../../store/image-store.js'
import type { Store } from '../../store/store.js'
import type { Upstream } from '../../upstream/upstream.js'
import type { Catalogue } from '../catalogue.js'
import { type Channels, unknownChannel } from '../channels.js'
import type { Flights } from '../flights.js'
import type { Room } from '../keeping/room.js'
import type { RecordHappening } from '../ledger.js'
import type { ImportStatus } from '../mirror.js'
import type { Author, ChangeOptions, FileUpload, Publishing } from '../publishing.js'
import { parseAccounts, withAccounts, withoutAccounts } from './access-list.js'
import { type DockerImport, type DockerImportRequest, DockerImports } from './docker-imports.js'
import { fetchRemoteFile } from './fetch-remote-file.js'
import { inheritMinPlatform } from './inherit-min-platform.js'
import { makeRecord } from './make-record.js'
import { OwnImages } from './own-images.js'
import { receiveUpload } from './receive-upload.js'
import { alreadyActivated, invalidData, invalidParameter, noBody, originUnknown, told } from './refusals.js'
import { RemoteImports } from './remote-imports.js'
import { remoteImage, type SourceOptions, Sources } from './sources.js'
import { updateRecord } from './update-record.js'

/** What the operator decided about publishing. */
export interface PublishingRules {
  /** Which images there may be: public ones, private ones. */
  readonly mode: 'public' | 'private'
  /** `undefined` when offline. */
  readonly sources: SourceOptions | undefined
}

export interface PublisherOptions extends PublishingRules {
  readonly store: Store
  readonly catalogue: Catalogue
  readonly channels: Channels
  readonly room: Room
  readonly flights: Flights
  /** What we have of an image, asked of upstreams if need be. */
  readonly find: (uuid: Uuid) => Promise<Manifest | undefined>
  /** Whether clients of Docker may ask for this blob. */
  readonly isOfDocker: (sha256: string) => Promise<boolean>
  readonly isOffline: boolean
  readonly maxAncestry: number
  readonly record: RecordHappening
  readonly log: Log
}

/** sdc-imgapi, lib/constants.js, `MAX_ICON_SIZE`. */
const MAX_ICON_BYTES = 128 * 1024

/** Images of our own, as `Publishing` promises. What changes of an image, and who may, is in the files beside this one. */
export class Publisher implements Publishing {
  #options: PublisherOptions
  readonly #own: OwnImages
  readonly #sources: Sources
  readonly #imports: RemoteImports
  readonly #dockerImports: DockerImports
  readonly #closing = new AbortController()
  /** Files on their way, one for each client who sends one or has one fetched. */
  readonly #arriving = new Set<Promise<unknown>>()

  constructor(options: PublisherOptions) {
    const { catalogue, channels, find, isOfDocker, isOffline, log, maxAncestry, record, sources, store } = options
    this.#options = options
    this.#own = new OwnImages({ store, catalogue, channels, isOfDocker, maxAncestry, record, log })
    this.#sources = new Sources(sources)
    const importing = {
      own: this.#own,
      sources: this.#sources,
      isOffline,
      find,
      importManifest: (statement: Statement, change: ChangeOptions, source: string) =>
        this.#importRemote(statement, change, source),
      activate: (uuid: Uuid, change: ChangeOptions) => this.activate(uuid, change),
      closing: this.#closing.signal,
      log,
    }
    this.#imports = new RemoteImports({
      ...importing,
      maxAncestry,
      importFile: (upstream, statement, change) => this.#putRemoteFile(upstream, statement, change),
    })
    this.#dockerImports = new DockerImports({
      ...importing,
      importFile: (upstream, statement, change, onProgress) =>
        this.#putRemoteFile(upstream, statement, change, onProgress),
    })
  }

  /** Holds for what is begun from now on. */
  change(rules: PublishingRules & Pick<PublisherOptions, 'channels' | 'maxAncestry'>): void {
    const { maxAncestry, sources } = rules
    this.#options = { ...this.#options, ...rules }
    this.#own.goBy(rules)
    this.#sources.change(sources)
    this.#imports.change(maxAncestry)
  }

  get #rules(): ValidationRules {
    const { channels, mode } = this.#options
    return { mode, hasChannels: channels.areUsed }
  }

  /** Finishes what a crash has left. To be called when the catalogue knows what is held. */
  start(): Promise<void> {
    return this.#own.tidy()
  }

  /** Lets go of files that a crash has left to nobody. To be called when it is known also what Docker's clients need. */
  tidyFiles(): Promise<void> {
    return this.#own.tidyFiles()
  }

  /** Newest first. */
  imports(): readonly ImportStatus[] {
    return this.#imports.status()
  }

  /** Ends imports and uploads. The flights are the caller's to close, before this. */
  async close(): Promise<void> {
    this.#closing.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await Promise.allSettled([this.#imports.idle(), this.#dockerImports.idle(), ...this.#arriving])
    await this.#own.idle()
  }

  async create(body: unknown, options: ChangeOptions): Promise<Manifest> {
    if (!isJsonObject(body)) throw noBody()
    const { account } = options
    const owner = body.owner || account || UNSET_OWNER
    if (account && owner !== account) {
      const complaint = `invalid owner: given owner, "${told(owner)}", does not match account, "${account}"`
      throw invalidParameter(complaint, 'owner')
    }
    if (body.state !== undefined) {
      throw new MirrorError('MANIFEST_INVALID', 'invalid image data: "state"', {
        fields: [{ field: 'state', code: 'NotAllowed', message: 'Parameter cannot be set' }],
      })
    }
    const given = body.v === undefined ? { ...body, v: 2 } : body
    await this.#findOrigin(given)
    const uuid = randomUUID() as Uuid
    return await this.#add({ given, uuid, owner, isImport: false }, options)
  }

  async import(
    uuid: Uuid,
    body: unknown,
    options: ChangeOptions & { readonly userAgent?: string | undefined },
  ): Promise<Manifest> {
    forOperators(options)
    if (!isJsonObject(body)) throw noBody()
    if (body.uuid !== uuid) {
      const complaint = `URL UUID, "${uuid}" and body UUID, "${told(body.uuid)}" do not match`
      throw invalidParameter(complaint, 'uuid')
    }
    this.#own.refuseIfTaken(uuid, this.#options.isOffline)
    const origin = await this.#findOrigin(body)
    const given = inheritMinPlatform(body, origin, options.userAgent)
    return await this.#add({ given, uuid, owner: UNSET_OWNER, isImport: true }, options)
  }

  async importManifestFrom(uuid: Uuid, source: string, options: ChangeOptions): Promise<Manifest> {
    forOperators(options)
    return await this.#sources.with(source, async (upstream) => {
      const statement = await remoteImage(upstream, uuid, 'image', this.#closing.signal)
      return await this.#importRemote(statement, options)
    })
  }

  addFile(uuid: Uuid, upload: FileUpload, options: ChangeOptions): Promise<Manifest> {
    return this.#arrive(uuid, options, () =>
      this.#putUpload(uuid, upload, options, {
        compression: upload.compression,
        ...(upload.datasetGuid && { dataset_guid: upload.datasetGuid }),
      }),
    )
  }

  addFileFrom(uuid: Uuid, source: string, options: ChangeOptions): Promise<Manifest> {
    return this.#arrive(uuid, options, () =>
      this.#sources.with(source, async (upstream) => {
        const statement = await remoteImage(upstream, uuid, 'image', this.#closing.signal)
        return await this.#putRemoteFile(upstream, statement, options)
      }),
    )
  }

  addFileFromUrl(
    uuid: Uuid,
    file: Pick<FileUpload, 'compression' | 'sha1' | 'signal'> & { readonly url: string },
    options: ChangeOptions,
  ): Promise<Manifest> {
    const { compression, sha1, signal, url } = file
    return this.#arrive(uuid, options, async () => {
      const { body, sizeBytes } = await this.#sources.openUrl(url, AbortSignal.any([signal, this.#closing.signal]))
      try {
        return await this.#putUpload(uuid, { body, sizeBytes, sha1, signal }, options, { compression })
      } finally {
        body.destroy()
      }
    })
  }

  activate(uuid: Uuid, options: ChangeOptions): Promise<Manifest> {
    return this.#own.change(uuid, options, ({ publication, files }) => {
      const { record } = publication
      if (isActivated(record)) throw alreadyActivated(uuid)
      if (files.length === 0) {
        throw new MirrorError('NO_FILE', `image "${uuid}" cannot be activated: it has no file`)
      }
      return { record: flagged({ published_at: new Date().toISOString(), ...record }, { activated: true }) }
    })
  }

  enable(uuid: Uuid, options: ChangeOptions): Promise<Manifest> {
    return this.#edit(uuid, options, (record) => flagged(record, { disabled: false }))
  }

  disable(uuid: Uuid, options: ChangeOptions): Promise<Manifest> {
    return this.#edit(uuid, options, (record) => flagged(record, { disabled: true }))
  }

  update(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest> {
    const { channels } = this.#options
    const isOperator = options.account === undefined
    return this.#edit(uuid, options, ({ channels: recorded, ...record }) => {
      // Channels may have come, or gone, with the configuration since it was published.
      const before = channels.areUsed ? { ...record, channels: channels.ofOwn(recorded) } : record
      const updated = updateRecord(before as ImageRecord, body, { isOperator, rules: this.#rules })
      if (!channels.areUsed) return { ...updated, ...(recorded !== undefined && { channels: recorded }) } as ImageRecord
      checkChannels(updated.channels, channels)
      return updated
    })
  }

  addAcl(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest> {
    return this.#edit(uuid, options, (record) => withAccounts(record, parseAccounts(body)))
  }

  removeAcl(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest> {
    return this.#edit(uuid, options, (record) => withoutAccounts(record, parseAccounts(body)))
  }

  addToChannel(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest> {
    const { channels } = this.#options
    return this.#edit(uuid, options, (record) => {
      if (!channels.areUsed) throw invalidParameter('"channel-add" is not a valid action', 'action')
      const name = isJsonObject(body) ? body.channel : undefined
      if (typeof name !== 'string' || !channels.has(name)) throw unknownChannel(name)
      return { ...record, channels: [...new Set([...channels.ofOwn(record.channels), name])] }
    })
  }

  setIcon(
    uuid: Uuid,
    icon: { readonly contentType: IconType; readonly bytes: Buffer; readonly sha1: string | undefined },
    options: ChangeOptions,
  ): Promise<Manifest> {
    return this.#own.change(uuid, options, async ({ publication }) => {
      checkIcon(icon)
      const { bytes, contentType } = icon
      await this.#options.store.icons.keep(uuid, { bytes, contentType })
      return { record: { ...publication.record, icon: true } }
    })
  }

  async deleteIcon(uuid: Uuid, options: ChangeOptions): Promise<Manifest> {
    const manifest = await this.#edit(uuid, options, ({ icon, ...record }) => {
      if (icon) return record as ImageRecord
      throw new MirrorError('ICON_UNKNOWN', `image "${uuid}" has no icon`)
    })
    await this.#options.store.icons.forget(uuid)
    return manifest
  }

  delete(uuid: Uuid, options: ChangeOptions & { readonly forceAllChannels: boolean }): Promise<void> {
    const { channels } = this.#options
    return this.#own.remove(uuid, options, ({ publication: { record } }) => {
      const channel = channels.resolve(options.channel, 'write')
      const left = channels.ofOwn(record.channels).filter((name) => name !== channel)
      if (channel === undefined || left.length === 0 || options.forceAllChannels) return undefined
      return { record: { ...record, channels: left } }
    })
  }

  async importRemote(uuid: Uuid, source: string, options: ChangeOptions): Promise<{ readonly jobUuid: Uuid }> {
    forOperators(options)
    this.#options.channels.resolve(options.channel, 'write')
    return { jobUuid: await this.#imports.start(uuid, source, options) }
  }

  importDockerImage(request: DockerImportRequest, options: ChangeOptions): DockerImport {
    forOperators(options)
    this.#options.channels.resolve(options.channel, 'write')
    return this.#dockerImports.prepare(request, options)
  }

  /** Has a file brought here, unless it is clear already that the image cannot have it. */
  async #arrive(uuid: Uuid, options: ChangeOptions, bring: () => Promise<Manifest>): Promise<Manifest> {
    this.#own.findForFile(uuid, options)
    this.#closing.signal.throwIfAborted()
    const arriving = bring()
    this.#arriving.add(arriving)
    try {
      return await arriving
    } finally {
      this.#arriving.delete(arriving)
    }
  }

  #edit(uuid: Uuid, options: ChangeOptions, edit: (record: ImageRecord) => ImageRecord): Promise<Manifest> {
    return this.#own.change(uuid, options, ({ publication }) => ({ record: edit(publication.record) }))
  }

  async #add(
    image: { readonly given: JsonObject; readonly uuid: Uuid; readonly owner: unknown; readonly isImport: boolean },
    { author, channel: asked }: ChangeOptions,
    importingFrom?: string,
  ): Promise<Manifest> {
    const { channels, isOffline, log } = this.#options
    const channel = channels.resolve(asked, 'write')
    const record = makeRecord({ ...image, channels: channel === undefined ? undefined : [channel], rules: this.#rules })
    const manifest = await this.#own.add(record, { author }, { isOffline, importingFrom })
    const { uuid, name, version } = manifest
    log.info({ ...factsOf(author), uuid, name, version }, `image ${uuid} (${name} ${version}) is created`)
    return manifest
  }

  /** A remote image as one of ours, without its file. Nobody owns it here, and its icon stays where it is. */
  async #importRemote({ manifest }: Statement, options: ChangeOptions, importingFrom?: string): Promise<Manifest> {
    const given = JSON.parse(manifest.json) as JsonObject
    this.#own.refuseIfTaken(manifest.uuid, this.#options.isOffline)
    return await this.#add({ given, uuid: manifest.uuid, owner: UNSET_OWNER, isImport: true }, options, importingFrom)
  }

  async #putUpload(
    uuid: Uuid,
    upload: { readonly body: Readable } & Pick<FileUpload, 'sizeBytes' | 'sha1' | 'signal'>,
    options: ChangeOptions,
    wire: Pick<FileWire, 'compression' | 'dataset_guid'>,
  ): Promise<Manifest> {
    const { room, store } = this.#options
    const open = (sha256: string) => store.blobs.open(sha256)
    return await this.#own.settling(async (note) => {
      const { fingerprint, lease } = await receiveUpload(upload, {
        room,
        open,
        undisturbed: (work) => this.#own.undisturbed(work),
        beforeNaming: note,
        closing: this.#closing.signal,
      })
      const { author } = options
      const location = `uploaded by ${author.user} from ${author.client}`
      const { sha1, sha256, sizeBytes } = fingerprint
      const extents = [{ startBytes: 0, endBytes: sizeBytes, upstream: '', location }]
      const held = { sha256, extents, corrections: [] }
      return await this.#putFile(uuid, { wire: { sha1, size: sizeBytes, ...wire }, held }, options, lease)
    })
  }

  async #putRemoteFile(
    source: Upstream,
    statement: Statement,
    options: ChangeOptions,
    onProgress?: (receivedBytes: number) => void,
  ): Promise<Manifest> {
    const { flights, store } = this.#options
    const { manifest } = statement
    return await this.#own.settling(async (note) => {
      const { held, fingerprint, lease } = await fetchRemoteFile(source, statement, {
        beforeNaming: note,
        flights,
        blobs: store.blobs,
        onProgress,
      })
      const compression = manifest.type === 'docker' ? await sniffed(lease, manifest) : manifest.files[0]!.compression
      const guid = (JSON.parse(manifest.json) as { files: FileWire[] }).files[0]?.dataset_guid
      const wire = {
        sha1: fingerprint.sha1,
        size: fingerprint.sizeBytes,
        compression,
        ...(guid !== undefined && { dataset_guid: guid }),
      }
      await note(held.sha256)
      return await this.#putFile(manifest.uuid, { wire, held }, options, lease)
    })
  }

  /** Makes a file that is kept the image's. */
  async #putFile(
    uuid: Uuid,
    file: { readonly wire: FileWire; readonly held: HeldFile },
    options: ChangeOptions,
    lease: { close(): Promise<void> },
  ): Promise<Manifest> {
    const { log } = this.#options
    try {
      const manifest = await this.#own.putFile(uuid, options, file)
      const { sha256 } = file.held
      const facts = { ...factsOf(options.author), uuid, sha256, sizeBytes: file.wire.size }
      log.info(facts, `image ${uuid} has a file of ${file.wire.size} bytes`)
      return manifest
    } finally {
      await lease.close()
    }
  }

  /** Asked of upstreams if need be; what has become of it is seen again when the image is written down. */
  async #findOrigin({ origin }: JsonObject): Promise<Manifest | undefined> {
    if (!origin) return undefined
    const uuid = parseUuid(origin)
    const found = uuid && (await this.#options.find(uuid))
    if (found) return found
    throw originUnknown(origin)
  }
}

type FileWire = NonNullable<ImageRecord['files']>[number]

/** [ours] The reference takes any names: an image in channels that there are not could be found by nobody. */
function checkChannels(names: unknown, channels: Channels): void {
  const given: readonly unknown[] = Array.isArray(names) ? names : []
  const unknown = given.filter((name) => typeof name !== 'string' || !channels.has(name))
  if (unknown.length > 0) throw unknownChannel(unknown[0])
  if (given.length > 0) return
  throw invalidData('invalid image data', [{ field: 'channels', code: 'Invalid', message: 'an image is in a channel' }])
}

function flagged(record: ImageRecord, flags: { readonly activated?: true; readonly disabled?: boolean }): ImageRecord {
  const changed = { ...record, ...flags }
  return { ...changed, state: stateByFlags(changed) }
}

function forOperators({ account }: ChangeOptions): void {
  if (account) throw new MirrorError('OPERATOR_ONLY', 'this endpoint may only be called by an operator')
}

function checkIcon({ bytes, sha1 }: { readonly bytes: Buffer; readonly sha1: string | undefined }): void {
  if (bytes.length === 0) throw new MirrorError('UPLOAD_REFUSED', 'icon size is 0 bytes, empty icons are not allowed')
  if (bytes.length > MAX_ICON_BYTES) {
    const complaint = `icon size, ${bytes.length}, exceeds the maximum allowed file size, 128 KiB`
    throw new MirrorError('UPLOAD_REFUSED', complaint)
  }
  const found = createHash('sha1').update(bytes).digest('hex')
  if (sha1 === undefined || sha1 === found) return
  const complaint = `"sha1" hash, ${sha1}, does not match the uploaded icon file sha1 hash, ${found}`
  throw new MirrorError('UPLOAD_REFUSED', complaint)
}

function factsOf({ client, requestId, user }: Author): object {
  return { user, client, requestId }
}

/** Registries say how a layer is compressed, and are wrong sometimes; imgadm looks at its first bytes. Closes `lease` if it throws. */
async function sniffed(lease: OpenBlob, { uuid }: Manifest): Promise<Compression> {
  const head = Buffer.alloc(SNIFF_BYTES)
  const compression = sniffCompression(head.subarray(0, await lease.read(head, 0)))
  if (compression !== 'zstd') return compression
  await lease.close()
  throw new MirrorError(
    'MANIFEST_INVALID',
    `the layer of image ${uuid} is compressed with zstd, which imgadm cannot unpack`,
  )
}
