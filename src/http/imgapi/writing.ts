import type { Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import type { ChangeOptions, Publishing } from '../../mirror/publishing.js'
import type { Authenticator } from '../auth/authenticator.js'
import type { Context } from '../every-request.js'

/** What the endpoints that change something need. A mirror without it only reads. */
export interface Writing {
  readonly publishing: Publishing
  readonly authenticator: Pick<Authenticator, 'writer'>
}

/** Where an endpoint finds what it changes, and what it may look up first. */
export interface Desk {
  readonly mirror: Mirror
  readonly publishing: Publishing
}

/** One that changes an image. Who asks has proved who they are, and nothing has been read of the body. */
export type WritingEndpoint = (context: Context, desk: Desk, uuid: Uuid, options: ChangeOptions) => Promise<void>
