import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { run } from '../../src/cli/run.js'
import type { Surroundings } from '../../src/cli/surroundings.js'
import { silentLog } from '../../src/parts/log.js'

export interface Said {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a command as a shell would, in a process that is none. */
export async function runCommand(args: readonly string[], changes: Partial<Surroundings> = {}): Promise<Said> {
  let [out, err] = ['', '']
  const code = await run(args, {
    version: '1.2.3',
    environment: {},
    write: (text) => {
      out += text
    },
    complain: (text) => {
      err += text
    },
    readFile: (path) => readFile(path, 'utf8'),
    openInput: async () => ({ stream: Readable.from([]), sizeBytes: undefined }),
    stop: new AbortController().signal,
    makeLog: () => silentLog,
    assemble: () => Promise.reject(new Error('nothing is to be served here')),
    ...changes,
  })
  return { code, out, err }
}
