/** Headers longer than this are cut: there are six types in the world. */
const MAX_RANGES = 64

/**
 * Which media types an Accept header takes, in the way of registries: order and weights mean nothing, but a weight of 0
 * is a no. Without a header, everything.
 */
export function acceptedTypes(header: string | undefined): (mediaType: string) => boolean {
  if (header === undefined || header.trim() === '') return () => true
  const taken = new Set<string>()
  for (const range of header.split(',', MAX_RANGES)) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    if (!parameters.some((parameter) => /^q=0(\.0{0,3})?$/.test(parameter))) taken.add(type)
  }
  return (mediaType) =>
    taken.has(mediaType) || taken.has('*/*') || taken.has(`${mediaType.slice(0, mediaType.indexOf('/'))}/*`)
}
