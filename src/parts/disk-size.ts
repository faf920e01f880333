import { statfs } from 'node:fs/promises'

/** How large the file system is that a path lies on, used or not. */
export async function diskSizeBytes(path: string): Promise<number> {
  const { blocks, bsize } = await statfs(path)
  return blocks * bsize
}
