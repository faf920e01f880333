const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** Such as `110.3 MiB`. */
export function sizeText(sizeBytes: number): string {
  let [size, unit] = [sizeBytes, 0]
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024
    unit += 1
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${UNITS[unit]}`
}
