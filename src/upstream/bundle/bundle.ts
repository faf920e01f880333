import { createHash } from 'node:crypto'
import { isMirrorError, MirrorError } from '../../errors.js'
import type { Piece } from '../../images/bundle/bundle-index.js'
import { BUNDLE_INDEX_LIMIT_BYTES } from '../../images/bundle/bundle-limits.js'
import { iconName, pieceName, volumeDirectory } from '../../images/bundle/bundle-names.js'
import { parseBundleIndex } from '../../images/bundle/parse-bundle-index.js'
import type { Statement } from '../../images/claim.js'
import type { Uuid } from '../../images/uuid.js'
import { abortable } from '../../parts/abortable.js'
import { SingleFlight } from '../../parts/single-flight.js'
import { ICON_BYTES, iconTypeOf } from '../get-icon.js'
import type { UnguardedUpstream } from '../guarded-upstream.js'
import type { Line } from '../line.js'
import { conditionsOf, listingValidatorOf, scopeOf } from '../listing-validator.js'
import { makeHttpClient } from '../make-http-client.js'
import { Selection } from '../read-manifest.js'
import type { FileBody, FileChunks, FileRequest, Icon, Listing, Priority } from '../upstream.js'
import type { UpstreamOptions } from '../upstream-options.js'
import type { BundlePlace } from './bundle-place.js'
import { type JoinedPieces, joinPieces, partOf } from './joined-pieces.js'
import { KnownBundle } from './known-bundle.js'
import { LocalPlace } from './local-place.js'
import { WebPlace } from './web-place.js'

const SIGNATURE_LIMIT_BYTES = 16 * 1024
/** A volume under the name that its bundle gives it. */
const VOLUME_NAME = /^imgapi-[0-9a-f]{12}(?:-v\d+of\d+)?$/

/**
 * A bundle as `imgapi-mirror export` writes it (docs/bundle-format.md), served by any web server, or in a directory of this machine.
 * Only images of which it has all files are offered, and only if somebody we trust has signed it. One volume is named; the
 * others are looked for beside it.
 */
export class BundleUpstream implements UnguardedUpstream {
  readonly name: string
  readonly url: string
  readonly #options: UpstreamOptions
  readonly #place: BundlePlace
  readonly #selection: Selection
  /** Of the volume that is named, with a slash at its end. */
  readonly #directory: URL
  readonly #scope: string
  readonly #lookUps = new SingleFlight<'bundle', KnownBundle>()
  /** A look-up belongs to all who wait for it: only closing ends it. */
  readonly #closing = new AbortController()
  #known: KnownBundle | undefined

  constructor(options: UpstreamOptions, line: Line) {
    const { allowUntrusted = false, name, trust, url } = options
    this.name = name
    this.#options = options
    this.#directory = new URL(url.href.replace(/\/*(?:[?#].*)?$/, '/'))
    this.url = this.#directory.href
    this.#selection = new Selection(options)
    // Who is no longer trusted is no longer believed, though the bundle has not changed.
    this.#scope = scopeOf(options, JSON.stringify([this.url, allowUntrusted, trust?.names]))
    this.#place = url.protocol === 'file:' ? new LocalPlace(name) : new WebPlace(makeHttpClient(options, line))
    if (allowUntrusted) options.log.warn({ upstream: name }, `${name}: its bundle is taken whoever has made it`)
  }

  async listImages({ validator, signal }: { validator?: string | undefined; signal: AbortSignal }) {
    const heard = await this.#read(conditionsOf(validator, this.#scope), 'background', signal)
    if (heard === 'unchanged') return heard
    const { statements, leftOut } = this.#selection.narrow(heard.known.statements.values())
    return {
      statements,
      leftOut: [...leftOut, ...heard.known.leftOut],
      setAside: [],
      listedCount: heard.known.index.images.length,
      validator: heard.validator,
      incomplete: undefined,
    } satisfies Listing
  }

  whyLeftOut(statement: Statement): string | undefined {
    return this.#selection.whyLeftOut(statement)
  }

  async getImage(uuid: Uuid, signal: AbortSignal): Promise<Statement | undefined> {
    return (await this.#lookUp(signal)).statements.get(uuid)
  }

  async openFile(request: FileRequest): Promise<FileBody> {
    const { fileIndex, signal, statement } = request
    const known = await this.#lookUp(signal)
    const file = known.image(statement.manifest.uuid)?.files[fileIndex]
    if (file?.sizeBytes !== statement.manifest.files[fileIndex]?.sizeBytes || !file) {
      throw this.#place.misbehaved(this.#directory, `has no such file of image ${statement.manifest.uuid} any more`)
    }
    const { sizeBytes, sha256 } = file
    const { startBytes, endBytes = sizeBytes } = request
    const pieces = known.piecesOf(sha256, startBytes, endBytes)
    const piece = pieces[0]!
    const first = await this.#openPiece(known, piece, sizeBytes, { ...request, endBytes })
    if (piece.startBytes === 0 && piece.endBytes === sizeBytes) return first
    const joined: JoinedPieces = {
      pieces,
      startBytes,
      endBytes,
      first,
      open: (next, gone) =>
        this.#openPiece(known, next, sizeBytes, { ...request, endBytes, signal: AbortSignal.any([signal, gone]) }),
      tooShort: ({ startBytes, volume }) =>
        this.#place.unreachable(this.#directory, `the connection was cut (volume ${volume}, from byte ${startBytes})`),
    }
    const { location, tls } = first
    const told = { totalBytes: sizeBytes, contentMd5: undefined, validator: undefined, location, tls }
    return { startBytes, endBytes, ...told, body: joinPieces(joined) }
  }

  async getIcon(uuid: Uuid, signal: AbortSignal): Promise<Icon | undefined> {
    const icon = (await this.#lookUp(signal)).image(uuid)?.icon
    if (!icon) return undefined
    const url = new URL(iconName(uuid, icon.type), this.#directory)
    const file = await this.#place.read(url, { limitBytes: ICON_BYTES, signal })
    if (file === undefined || file === 'unchanged') return undefined
    const sha256 = createHash('sha256').update(file.bytes).digest('hex')
    if (sha256 !== icon.sha256) throw this.#place.misbehaved(url, 'is not the icon that the bundle says')
    const contentType = iconTypeOf(file.bytes)
    if (!contentType) throw this.#place.misbehaved(url, 'an icon that is neither JPEG, GIF nor PNG')
    return { contentType, bytes: file.bytes }
  }

  /** A bundle has hashes of blocks of a volume, not of chunks of files. */
  async getChunks(): Promise<FileChunks | undefined> {
    return undefined
  }

  async check(signal: AbortSignal): Promise<string> {
    const url = new URL('bundle.json.minisig', this.#directory)
    const signature = await this.#place.read(url, { limitBytes: SIGNATURE_LIMIT_BYTES, signal })
    if (!signature && !this.#options.allowUntrusted) throw this.#place.misbehaved(url, 'is not there')
    return this.#known ? `bundle ${this.#known.id.slice(0, 12)} of ${this.#known.index.from.site}` : 'bundle'
  }

  close(): Promise<void> {
    this.#closing.abort(new MirrorError('CLOSING', `${this.name} is being closed`))
    return this.#place.close()
  }

  /** What was read last, or, if nothing was yet, is read once by all who need it at the same time. */
  async #lookUp(signal: AbortSignal): Promise<KnownBundle> {
    if (this.#known) return this.#known
    const looking = this.#lookUps.do('bundle', async () => {
      const heard = await this.#read({}, 'client', this.#closing.signal)
      return heard === 'unchanged' ? this.#known! : heard.known
    })
    // Whoever leaves must not leave a failure behind that nobody handles.
    looking.catch(() => {})
    return await abortable(looking, signal)
  }

  async #read(
    conditions: Record<string, string>,
    priority: Priority,
    signal: AbortSignal,
  ): Promise<{ known: KnownBundle; validator: string | undefined } | 'unchanged'> {
    const url = new URL('bundle.json', this.#directory)
    const limitBytes = Math.min(BUNDLE_INDEX_LIMIT_BYTES, this.#options.limits.listBytes)
    const file = await this.#place.read(url, { limitBytes, conditions, priority, signal })
    if (file === 'unchanged') return file
    if (!file) throw this.#place.misbehaved(url, 'is not there: right is the directory of a volume of a bundle')
    await this.#checkSignature(url, file.bytes, priority, signal)
    try {
      const known = new KnownBundle(await parseBundleIndex(file.bytes), file.bytes)
      this.#known = known
      return { known, validator: listingValidatorOf(file, this.#scope) }
    } catch (cause) {
      if (!isMirrorError(cause, 'BUNDLE_INVALID')) throw cause
      throw this.#place.misbehaved(url, cause.message, { cause })
    }
  }

  /** Before anything of it is parsed. */
  async #checkSignature(url: URL, bytes: Buffer, priority: Priority, signal: AbortSignal): Promise<void> {
    const { allowUntrusted = false, trust } = this.#options
    const place = new URL('bundle.json.minisig', this.#directory)
    const file = await this.#place.read(place, { limitBytes: SIGNATURE_LIMIT_BYTES, priority, signal })
    if (file === undefined || file === 'unchanged') {
      if (allowUntrusted) return
      throw this.#place.misbehaved(url, 'nobody has signed it; "allowUntrusted: true" takes it all the same')
    }
    const signed = trust?.verify(bytes, file.bytes.toString('latin1'))
    if (!signed) throw this.#place.misbehaved(url, 'its signature is not of it: it was damaged or changed')
    if (signed.isTrusted || allowUntrusted) return
    throw this.#place.misbehaved(
      url,
      `it is signed by key ${signed.key}, which is not among bundles.trustedKeys; "allowUntrusted: true" takes it all the same`,
    )
  }

  async #openPiece(
    known: KnownBundle,
    piece: Piece,
    sizeBytes: number,
    request: Pick<FileRequest, 'startBytes' | 'validator' | 'priority' | 'signal'> & { endBytes: number },
  ): Promise<FileBody> {
    const { priority, signal, validator } = request
    const isWhole = piece.startBytes === 0 && piece.endBytes === sizeBytes
    const question = {
      ...partOf(piece, request.startBytes, request.endBytes),
      expectedBytes: piece.endBytes - piece.startBytes,
      validator: isWhole ? validator : undefined,
      priority,
      signal,
    }
    const name = pieceName(piece.sha256, piece.startBytes, piece.endBytes, sizeBytes)
    let failure: unknown
    for (const directory of this.#directoriesOf(known, piece.volume)) {
      try {
        return await this.#place.open(new URL(name, directory), question)
      } catch (error) {
        if (!isMirrorError(error, 'UPSTREAM_MISBEHAVED')) throw error
        failure ??= error
      }
    }
    throw failure
  }

  /** Where a volume may be: beside the one that is named, unless it is that one. */
  #directoriesOf({ id, index }: KnownBundle, volume: number): URL[] {
    if (index.volumes === 1) return [this.#directory]
    const named = this.#directory.pathname.split('/').at(-2) ?? ''
    const name = volumeDirectory(id, volume, index.volumes)
    if (named === name) return [this.#directory]
    const beside = new URL(`../${name}/`, this.#directory)
    // Under a name of its own, nobody knows which volume it is.
    return VOLUME_NAME.test(named) ? [beside] : [beside, this.#directory]
  }
}
