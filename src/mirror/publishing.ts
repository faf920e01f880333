import type { Readable } from 'node:stream'
import type { Compression, Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { IconType } from '../store/image-store.js'
import type { DockerImport, DockerImportRequest } from './publishing/docker-imports.js'

/** Who publishes, and where: said with every change, for the record. */
export interface Author {
  /** The user's name as it was proved; `anonymous` where nobody is asked. */
  readonly user: string
  /** Address of the client. */
  readonly client: string
  readonly requestId: string
}

/** What all changes have in common. */
export interface ChangeOptions {
  readonly author: Author
  /** The request's `channel`; `undefined` is the default channel. Meaningless on a mirror without channels. */
  readonly channel?: string | undefined
  /** The request's `account`, checked for form: on whose behalf. Operators give none. */
  readonly account?: Uuid | undefined
  /**
   * Called with the image as it stands just before it is changed, while nobody else can change it: throws to
   * prevent it (If-Match).
   */
  readonly precondition?: ((current: Manifest) => void) | undefined
}

export interface FileUpload {
  readonly body: Readable
  /** By Content-Length; `undefined` for a body of unknown length. */
  readonly sizeBytes: number | undefined
  readonly compression: Compression
  /** What the client says the bytes' SHA-1 is. */
  readonly sha1: string | undefined
  /** What it says their MD5 is, as Content-MD5 does: in Base64. */
  readonly contentMd5?: string | undefined
  readonly datasetGuid: string | undefined
  /** Aborts when the client has left. */
  readonly signal: AbortSignal
}

/**
 * Images of our own: made, filled, activated, changed and deleted here. Checks and their order, messages and field codes are those of
 * sdc-imgapi 4.13.1, but for what `docs/imgapi.md` lists.
 *
 * A change is durable when its promise resolves, and is then seen by every reader; until then nothing of it is. Changes of one image are made one
 * after the other. Every method answers the image as it stands afterwards.
 *
 * Failures: IMAGE_UNKNOWN; NOT_OURS for an image that only upstreams have; MANIFEST_INVALID (422 ValidationFailed, `fields`) and QUERY_INVALID
 * (422 InvalidParameter, `fields`); IMAGE_EXISTS; ORIGIN_UNKNOWN, ORIGIN_INACTIVE; FILES_IMMUTABLE, ALREADY_ACTIVATED, NO_FILE; IMAGE_IN_USE;
 * UPLOAD_REFUSED, DOWNLOAD_REFUSED; NOT_OWNER, OPERATOR_ONLY; STORE_FULL, STORE_BROKEN. Of what is fetched from elsewhere also
 * UPSTREAM_UNREACHABLE (also offline), UPSTREAM_MISBEHAVED, ANCESTRY_BROKEN.
 */
export interface Publishing {
  /** POST /images. @param body parsed JSON, not yet checked. */
  create(body: unknown, options: ChangeOptions): Promise<Manifest>
  /** POST /images/:uuid?action=import */
  import(
    uuid: Uuid,
    body: unknown,
    options: ChangeOptions & { readonly skipOwnerCheck?: boolean | undefined; readonly userAgent?: string | undefined },
  ): Promise<Manifest>
  /** POST /images/:uuid?action=import&source=URL: the manifest alone, from another IMGAPI. */
  importManifestFrom(uuid: Uuid, source: string, options: ChangeOptions): Promise<Manifest>
  /**
   * PUT /images/:uuid/file. Reads `body` to its end, unless it fails: what is left of it then is the caller's to end, who may have an
   * answer to send on the same connection first. What can be refused without a byte of it is.
   */
  addFile(uuid: Uuid, upload: FileUpload, options: ChangeOptions): Promise<Manifest>
  /** PUT /images/:uuid/file?source=URL: the file of the same image, from another IMGAPI. */
  addFileFrom(uuid: Uuid, source: string, options: ChangeOptions): Promise<Manifest>
  /** POST /images/:uuid/file/from-url */
  addFileFromUrl(
    uuid: Uuid,
    file: Pick<FileUpload, 'compression' | 'sha1' | 'signal'> & { readonly url: string },
    options: ChangeOptions,
  ): Promise<Manifest>
  activate(uuid: Uuid, options: ChangeOptions): Promise<Manifest>
  enable(uuid: Uuid, options: ChangeOptions): Promise<Manifest>
  disable(uuid: Uuid, options: ChangeOptions): Promise<Manifest>
  /** @param body parsed JSON, not yet checked; `undefined` when there was none. */
  update(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest>
  addAcl(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest>
  removeAcl(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest>
  addToChannel(uuid: Uuid, body: unknown, options: ChangeOptions): Promise<Manifest>
  setIcon(
    uuid: Uuid,
    icon: { readonly contentType: IconType; readonly bytes: Buffer; readonly sha1: string | undefined },
    options: ChangeOptions,
  ): Promise<Manifest>
  deleteIcon(uuid: Uuid, options: ChangeOptions): Promise<Manifest>
  delete(uuid: Uuid, options: ChangeOptions & { readonly forceAllChannels: boolean }): Promise<void>
  /** POST /images/:uuid?action=import-remote: the image with its whole chain, in the background. Resolves once it is under way. */
  importRemote(
    uuid: Uuid,
    source: string,
    options: ChangeOptions & { readonly skipOwnerCheck?: boolean | undefined },
  ): Promise<{ readonly jobUuid: Uuid }>
  /** POST /images?action=import-docker-image, as DockerImports.prepare. */
  importDockerImage(request: DockerImportRequest, options: ChangeOptions): DockerImport
}
