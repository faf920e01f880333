import type { Manifest } from './manifest.js'
import type { Uuid } from './uuid.js'

/** What whoever asks may see. */
export interface Viewer {
  /** Have they proved who they are? Then lists show images in every state, not only active ones. */
  readonly isKnown: boolean
  /** Images that are not public. By uuid, and in lists. */
  readonly seesPrivate: boolean
}

/** Whoever has not been looked at yet. */
export const NOBODY: Viewer = { isKnown: false, seesPrivate: false }

export function isSeenBy({ isPublic }: Manifest, { seesPrivate }: Viewer): boolean {
  return isPublic || seesPrivate
}

/**
 * Whether an account has access: to its own images, and to activated ones that are public or name it in their acl.
 *
 * Source: sdc-imgapi docs/index.md, "ListImages" and "GetImage", the parameter `account`.
 */
export function isSharedWith({ owner, state, isPublic, json }: Manifest, account: Uuid | string): boolean {
  if (owner === account) return true
  if (state !== 'active' && state !== 'disabled') return false
  if (isPublic) return true
  // Parsing is 50 times as dear as looking, and most images do not have what is asked for.
  if (!json.includes(`"${account}"`)) return false
  const { acl } = JSON.parse(json) as { acl?: unknown }
  return Array.isArray(acl) && acl.includes(account)
}
