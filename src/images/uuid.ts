declare const isUuid: unique symbol

/** A lower-case uuid. IMGAPI checks neither version nor variant bits, and an upper-case one is a different path. */
export type Uuid = string & { readonly [isUuid]: true }

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** IMGAPI's owner of images that nobody owns (node-imgmanifest, `UNSET_OWNER_UUID`). */
export const UNSET_OWNER = '00000000-0000-0000-0000-000000000000' as Uuid

/** Answers `undefined` for anything that is not a lower-case uuid. */
export function parseUuid(value: unknown): Uuid | undefined {
  return typeof value === 'string' && UUID.test(value) ? (value as Uuid) : undefined
}
