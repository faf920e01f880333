/** Of a file of a volume on its medium; the directory is `''` where the medium itself is the volume. */
export function volumePath(directory: string, path: string): string {
  return directory === '' ? path : `${directory}/${path}`
}
