import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { MirrorError } from '../../src/errors.js'
import type { ListQuery } from '../../src/images/list-query.js'
import type { Compression, ImageState, Manifest } from '../../src/images/manifest.js'
import { UNSET_OWNER, type Uuid } from '../../src/images/uuid.js'
import { Channels } from '../../src/mirror/channels.js'
import type {
  FileChunks,
  FileOnOffer,
  IconOnOffer,
  ImageList,
  Mirror,
  MirrorStatus,
  OpenFile,
} from '../../src/mirror/mirror.js'

/** Last-Modified of every held file and icon: that of the reference's answers in the vectors. */
export const KEPT_MS = Date.UTC(2024, 0, 2, 3, 4, 5)

const CHUNK_BYTES = 1024 * 1024
/** What the streams give at a time. */
const READ_BYTES = 64 * 1024

/** How an image file behaves. All of it may be changed while it is being read. */
export interface FileConduct {
  /** Whether it is held and verified, so that its facts are known. */
  isHeld: boolean
  /** Thrown by `open`. */
  failsToOpen?: Error | undefined
  /** Fails once this many bytes of a stream have been given. 0 fails before the first. */
  failsAfterBytes?: number | undefined
  /** Gives no more after this many bytes of a stream, until `stall` settles. */
  stallsAfterBytes?: number | undefined
  stall?: Promise<void> | undefined
  /** What the upstream's Content-MD5 said of a file that is not held. */
  saidMd5?: string | undefined
}

/** One image: its manifest as IMGAPI writes it, the bytes of its files, and how they behave. */
export interface MemoryImage {
  readonly manifest: Manifest
  readonly files: readonly Buffer[]
  readonly conduct: FileConduct
  readonly icon: IconOnOffer | undefined
}

/** A mirror that has everything in memory, does as it is told, and counts what is opened and closed. */
export class MemoryMirror implements Mirror {
  readonly #images = new Map<Uuid, MemoryImage>()
  readonly channels = new Channels()
  revision = 1
  listsAsked = 0
  imagesAsked = 0
  opened = 0
  closed = 0
  streamsOpened = 0
  streamsClosed = 0
  /** Bytes the streams have given. */
  givenBytes = 0

  add(wire: Record<string, unknown>, files: readonly Buffer[] = [], icon?: IconOnOffer): MemoryImage {
    const image: MemoryImage = { manifest: manifestOf(wire), files, conduct: { isHeld: true }, icon }
    this.#images.set(image.manifest.uuid, image)
    this.revision += 1
    return image
  }

  listImages(query: ListQuery): Promise<ImageList> {
    this.listsAsked += 1
    const manifests = [...this.#images.values()]
      .map(({ manifest }) => manifest)
      .filter(
        ({ state, name, version }) =>
          state === 'active' && isMeant(name, query.name) && isMeant(version, query.version),
      )
    return Promise.resolve({ manifests: manifests.slice(0, query.limit), revision: this.revision })
  }

  async getImage(uuid: Uuid): Promise<Manifest> {
    this.imagesAsked += 1
    return this.#find(uuid).manifest
  }

  imageAtHand(uuid: Uuid): Manifest | undefined {
    return this.#images.get(uuid)?.manifest
  }

  revisionAtHand(): number {
    return this.revision
  }

  async findFile(uuid: Uuid, fileIndex: number): Promise<FileOnOffer> {
    const { manifest, files, conduct } = this.#find(uuid)
    const bytes = files[fileIndex]
    if (files.length === 0) throw new MirrorError('FILE_UNKNOWN', `image "${uuid}" has no file`)
    if (!bytes) throw new MirrorError('FILE_UNKNOWN', `image "${uuid}" has no file at index ${fileIndex}`)
    const { isHeld } = conduct
    return {
      manifest,
      fileIndex,
      sizeBytes: bytes.length,
      held: isHeld ? { ...hashesOf(bytes), keptMs: KEPT_MS } : undefined,
      isSpoilt: false,
      open: async (signal) => {
        signal.throwIfAborted()
        if (conduct.failsToOpen) throw conduct.failsToOpen
        return this.#open(bytes, conduct)
      },
    }
  }

  async getIcon(uuid: Uuid): Promise<IconOnOffer> {
    const { icon } = this.#find(uuid)
    if (!icon) throw new MirrorError('ICON_UNKNOWN', `image "${uuid}" has no icon`)
    return icon
  }

  async getChunks(uuid: Uuid, fileIndex: number): Promise<FileChunks> {
    const { files, conduct } = this.#find(uuid)
    const bytes = files[fileIndex]
    if (!bytes || !conduct.isHeld) throw new MirrorError('FILE_UNKNOWN', `file ${fileIndex} of ${uuid} is not held`)
    const chunks: string[] = []
    for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
      chunks.push(hashOf('sha256', bytes.subarray(start, start + CHUNK_BYTES)))
    }
    return { ...hashesOf(bytes), sizeBytes: bytes.length, chunkBytes: CHUNK_BYTES, chunks }
  }

  status(): MirrorStatus {
    return {
      isOffline: false,
      imagesListed: this.#images.size,
      imagesHeld: 0,
      blobsKept: 0,
      bytesKept: 0,
      upstreams: [
        {
          name: 'smartos',
          url: 'https://images.example.com',
          state: 'reachable',
          images: 1,
          setAside: [],
          incomplete: undefined,
          lastHeardMs: KEPT_MS,
          lastError: undefined,
          nextRefreshMs: undefined,
          health: {
            breaker: 'open',
            failures: 5,
            nextProbeMs: KEPT_MS,
            canResume: undefined,
            quietUntilMs: undefined,
            rate: { limit: 'closed', untilMs: KEPT_MS },
          },
        },
      ],
      flights: [],
      conflicts: [],
      keeping: {
        room: { quotaBytes: undefined, usedBytes: 0, pinnedBytes: 0, evictableBytes: 0, evictedBytes: 0 },
        scrub: undefined,
        lost: [],
        damagedRecords: [],
      },
    }
  }

  #find(uuid: Uuid): MemoryImage {
    const image = this.#images.get(uuid)
    if (!image) throw new MirrorError('IMAGE_UNKNOWN', `image ${uuid} not found`)
    return image
  }

  #open(bytes: Buffer, conduct: FileConduct): OpenFile {
    this.opened += 1
    const streams = new Set<Readable>()
    const hex = conduct.isHeld ? hashOf('md5', bytes) : conduct.saidMd5
    return {
      md5: hex === undefined ? undefined : { algorithm: 'md5', hex },
      stream: (startBytes, endBytes) => {
        this.streamsOpened += 1
        const stream = this.#read(bytes.subarray(startBytes, endBytes), conduct)
        streams.add(stream)
        stream.once('close', () => {
          this.streamsClosed += 1
          streams.delete(stream)
        })
        return stream
      },
      close: async () => {
        for (const stream of streams) stream.destroy()
        this.closed += 1
      },
    }
  }

  #read(bytes: Buffer, conduct: FileConduct): Readable {
    let given = 0
    const give = (stream: Readable) => {
      const { failsAfterBytes, stallsAfterBytes } = conduct
      if (failsAfterBytes !== undefined && given >= failsAfterBytes) {
        stream.destroy(new MirrorError('UPSTREAM_MISBEHAVED', 'the bytes are not the promised ones'))
        return
      }
      if (given >= bytes.length) {
        stream.push(null)
        return
      }
      const end = Math.min(
        bytes.length,
        given + READ_BYTES,
        failsAfterBytes ?? bytes.length,
        stallsAfterBytes !== undefined && stallsAfterBytes > given ? stallsAfterBytes : bytes.length,
      )
      this.givenBytes += end - given
      const chunk = bytes.subarray(given, end)
      given = end
      stream.push(chunk)
    }
    return new Readable({
      highWaterMark: READ_BYTES,
      read() {
        const { stallsAfterBytes, stall } = conduct
        const isStalled = stallsAfterBytes !== undefined && given >= stallsAfterBytes
        if (isStalled && stall) void stall.then(() => give(this))
        else give(this)
      },
    })
  }
}

function isMeant(text: string, match: ListQuery['name']): boolean {
  return !match || match.text === text
}

function hashOf(algorithm: string, bytes: Buffer): string {
  return createHash(algorithm).update(bytes).digest('hex')
}

function hashesOf(bytes: Buffer) {
  return { sha256: hashOf('sha256', bytes), sha1: hashOf('sha1', bytes), md5: hashOf('md5', bytes) }
}

/** A Manifest of a v2 manifest as it stands, unchecked. */
function manifestOf(wire: Record<string, unknown>): Manifest {
  const files = (wire.files ?? []) as { sha1: string; size: number; compression: Compression }[]
  return {
    uuid: wire.uuid as Uuid,
    name: String(wire.name),
    version: String(wire.version),
    owner: (wire.owner ?? UNSET_OWNER) as Uuid,
    os: String(wire.os),
    type: String(wire.type),
    state: wire.state as ImageState,
    isPublic: wire.public === true,
    publishedAt: wire.published_at as string | undefined,
    origin: wire.origin as Uuid | undefined,
    files: files.map(({ sha1, size, compression }) => ({
      sizeBytes: size,
      compression,
      digests: [{ algorithm: 'sha1', hex: sha1 }],
    })),
    hasIcon: wire.icon === true,
    json: JSON.stringify(wire),
  }
}

/** The manifest of an active image with one file of these bytes, as IMGAPI writes it. */
export function wireOf(uuid: string, bytes: Buffer, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    v: 2,
    uuid,
    owner: UNSET_OWNER,
    name: 'base',
    version: '1.0.0',
    state: 'active',
    disabled: false,
    public: true,
    published_at: '2024-01-01T00:00:00.000Z',
    type: 'zone-dataset',
    os: 'smartos',
    files: [{ sha1: hashOf('sha1', bytes), size: bytes.length, compression: 'gzip' }],
    ...more,
  }
}
