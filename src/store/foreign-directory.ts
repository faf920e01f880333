import { constants } from 'node:fs'
import fs from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import type { Readable } from 'node:stream'
import { MirrorError } from '../errors.js'
import type { ForeignFile, ForeignStore } from './foreign-store.js'

const MOST_ENTRIES = 1_000_000
/** Of a pipe that took the place of a file, opening must not wait for a writer. */
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

export const foreignDirectory: ForeignStore = {
  async *list(root, signal): AsyncGenerator<ForeignFile> {
    if (!isAbsolute(root)) throw refusal(root, 'it is no absolute path')
    const directories = [root]
    let entries = 0
    for (let path = directories.pop(); path !== undefined; path = directories.pop()) {
      signal.throwIfAborted()
      const found = await fs.readdir(path, { withFileTypes: true }).catch((cause: unknown) => {
        if (path === root) throw refusal(root, 'it is no directory that we may read', cause)
        return []
      })
      for (const entry of found) {
        if (++entries > MOST_ENTRIES) throw refusal(root, `it has more than ${MOST_ENTRIES} entries`)
        const inner = join(path, entry.name)
        if (entry.isDirectory()) directories.push(inner)
        if (!entry.isFile()) continue
        const facts = await fs.lstat(inner).catch(() => undefined)
        if (facts?.isFile()) yield { path: inner, sizeBytes: facts.size }
      }
    }
  },

  async open(path): Promise<Readable> {
    try {
      const file = await fs.open(path, FLAGS)
      if ((await file.stat()).isFile()) return file.createReadStream()
      await file.close()
    } catch (cause) {
      throw refusal(path, 'it cannot be read', cause)
    }
    throw refusal(path, 'it is no regular file')
  },
}

function refusal(path: string, reason: string, cause?: unknown): MirrorError {
  const message = `${path.slice(0, 1024)}: ${reason}`
  return new MirrorError('QUERY_INVALID', message, {
    cause,
    fields: [{ field: 'path', code: 'Invalid', message: reason }],
  })
}
