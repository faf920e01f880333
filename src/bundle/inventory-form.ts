/** What a format and its parser share: see docs/bundle-format.md, "Inventories". */
export const INVENTORY_TITLE = 'imgapi-mirror inventory'
export const INVENTORY_VERSION = '1'
/** Of a million images, and no more. */
export const INVENTORY_LIMIT_BYTES = 16 * 1024 * 1024
/** Kinds of lines whose content is words in base32. */
export const WORD_KINDS: ReadonlySet<string> = new Set(['salt', 'image', 'file', 'part', 'sign'])
/** Ranges of parts are counted in these. */
export const PART_UNIT_BYTES = 1024 * 1024
export const SALT_BYTES = 8
