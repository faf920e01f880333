import type { Compression } from '../manifest.js'

/** What the bytes of a layer may turn out to be. IMGAPI has no word for zstd, and imgadm cannot unpack it. */
export type LayerCompression = Compression | 'zstd'

/** How many bytes of a file tell how it is compressed. */
export const SNIFF_BYTES = 6

const MAGIC: readonly (readonly [LayerCompression, Buffer])[] = [
  ['gzip', Buffer.from('1f8b08', 'hex')],
  ['bzip2', Buffer.from('425a68', 'hex')],
  ['xz', Buffer.from('fd377a585a00', 'hex')],
  ['zstd', Buffer.from('28b52ffd', 'hex')],
]

/**
 * How a file is compressed, by its first bytes; `none` for all that is not known, such as a plain tar. A file may be
 * shorter than `SNIFF_BYTES`.
 *
 * Source: imgadm (smartos-live, src/img/lib/magic.js) looks at the same bytes, except that it does not know zstd.
 */
export function sniffCompression(head: Uint8Array): LayerCompression {
  const found = MAGIC.find(([, magic]) => magic.equals(head.subarray(0, magic.length)))
  return found ? found[0] : 'none'
}
