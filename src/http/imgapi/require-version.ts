import { acceptedVersion, isVersionAccepted } from '../accept-version.js'
import { Refusal } from '../answers.js'
import type { Context } from '../every-request.js'

/**
 * Refuses clients who want another IMGAPI than ours.
 *
 * @throws Refusal 400 InvalidVersion.
 */
export function requireVersion(context: Context): void {
  const range = acceptedVersion(context)
  if (isVersionAccepted(range)) return
  throw new Refusal(400, 'InvalidVersion', `${range} is not supported by ${context.method} ${context.path}`)
}
