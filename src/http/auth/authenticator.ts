import type { Viewer } from '../../images/viewer.js'
import type { Context } from '../every-request.js'

/** Somebody who has proved who they are. */
export interface Principal {
  readonly name: string
}

/**
 * Who may. Every method but `reload` leaves in `context.state` whom it found (`principal`) and what they may see (`viewer`):
 * what is not public must not be answered before.
 *
 * Refusals: 401 with a challenge when a proof is missing or wrong, 403 when who asks may not, 429 with Retry-After after
 * too many wrong proofs.
 */
export interface Authenticator {
  /**
   * For what is told to users alone, also to those who may only read. Where there are none, nobody is told.
   * @throws Refusal 401, 403, 429.
   */
  user(context: Context): Promise<Principal>

  /**
   * For whatever changes something.
   * @throws Refusal 401, 403, 429.
   */
  writer(context: Context): Promise<Principal>

  /**
   * For reading, in every protocol. While reading is open, no proof is asked for; but one that is given must be right all the same,
   * as the reference demands, unless there are no users whom it could be compared with.
   * @throws Refusal 401, 429.
   */
  reader(context: Context): Promise<Principal | undefined>

  /**
   * For files and icons of images, where the reference never looks at proofs: neither do we while everything is for everybody.
   * Otherwise as `reader`.
   * @throws Refusal 401, 429.
   */
  fileReader(context: Context): Promise<Principal | undefined>

  /** What they may see who give no proof, as `reader` finds it; `undefined` while reading is not open. */
  passerBy(): Viewer | undefined

  /**
   * Reads the files of keys, passwords and tokens again. If one is wrong, everything stays as it was.
   * @throws MirrorError CONFIG_INVALID naming the file.
   */
  reload(): Promise<void>
}
