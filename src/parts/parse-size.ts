const BYTES: Record<string, number> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
}
const SIZE = /^(\d+(?:\.\d+)?) ?([A-Za-z]+)$/

/** For messages: what `parseSize` takes. */
export const SIZE_FORM =
  'a size with its unit, such as 512B, 64KiB, 10GiB or 1MB (units: B, KiB, MiB, GiB, TiB by 1024; kB, MB, GB, TB by 1000)'

/**
 * Bytes of `64KiB`, `1.5 GiB`, `1MB`. The whole text must be a size and mean a whole number of bytes; anything else, a
 * bare number too, is `undefined`.
 */
export function parseSize(text: string): number | undefined {
  const [, count, unit] = SIZE.exec(text) ?? []
  const unitBytes = unit !== undefined && Object.hasOwn(BYTES, unit) ? BYTES[unit] : undefined
  if (unitBytes === undefined) return undefined
  const sizeBytes = Number(count) * unitBytes
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined
}
