/**
 * JSON text that is the same for the same value: members in the order of their names, no spaces, members without a value left
 * out. It is what RFC 8785 describes, as long as numbers are whole, and what `jq -cS` prints.
 *
 * @param value of plain objects, arrays, texts, numbers and truths; some levels deep.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(ordered(value))
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  members.sort(([one], [other]) => (one < other ? -1 : 1))
  return Object.fromEntries(members.map(([name, member]) => [name, ordered(member)]))
}
