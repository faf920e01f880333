import { ApiRefusal } from './api-client.js'
import { CommandFailure, NOT_HELD } from './command.js'

/** For what is asked of images that must be held: that one is not has an exit code of its own, as with imgadm. */
export function asNotHeld(error: unknown): never {
  const isNotHeld = error instanceof ApiRefusal && error.status === 404
  throw isNotHeld ? new CommandFailure(error.message, NOT_HELD, { cause: error }) : error
}
