import { MirrorError } from '../../errors.js'

/**
 * A JSON document for people, too: a key is a line, and so is each entry of a list.
 * @param fields JSON texts by key; of a list, its entries.
 * @throws MirrorError BUNDLE_INVALID for one longer than anybody would read.
 */
export function formatDocument(
  name: string,
  limitBytes: number,
  fields: Readonly<Record<string, string | readonly string[]>>,
): Buffer {
  const lines = Object.entries(fields).map(([key, json]) => `  ${JSON.stringify(key)}: ${asText(json)}`)
  const bytes = Buffer.from(`{\n${lines.join(',\n')}\n}\n`)
  if (bytes.length <= limitBytes) return bytes
  throw new MirrorError(
    'BUNDLE_INVALID',
    `${name} would have ${bytes.length} bytes, and nobody reads more than ${limitBytes}: select fewer images at a time`,
  )
}

/** A list as JSON, with a line for each entry. */
export function formatList(entries: readonly string[]): string {
  return entries.length === 0 ? '[]' : `[\n    ${entries.join(',\n    ')}\n  ]`
}

function asText(json: string | readonly string[]): string {
  return typeof json === 'string' ? json : formatList(json)
}
