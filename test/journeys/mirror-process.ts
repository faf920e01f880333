import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { stringify } from 'yaml'
import { temporaryDirectory } from '../support/temporary.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A mirror in a process of its own, as an operator runs it. */
export interface MirrorProcess {
  readonly url: string
  readonly operatorUrl: string
  readonly dataDirectory: string
  /** The most memory it has ever had resident, in bytes. */
  peakBytes(): Promise<number>
  /** Asks it to stop, and waits until it has. Answers its exit code. */
  stop(): Promise<number | null>
}

export interface ProcessOptions {
  /** Modules that Node loads before anything of ours. */
  readonly imports?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

/** @param settings as in the config file; listeners are filled in, and the data directory if it is not named. */
export async function startMirrorProcess(
  settings: Record<string, unknown>,
  { imports = [], environment = {} }: ProcessOptions = {},
): Promise<MirrorProcess> {
  const directory = await temporaryDirectory()
  const dataDirectory = (settings.data as string | undefined) ?? join(directory, 'data')
  const path = join(directory, 'config.yaml')
  const listeners = { listen: '127.0.0.1:0', operator: '127.0.0.1:0' }
  await writeFile(path, stringify({ ...listeners, ...settings, data: dataDirectory }))
  const flags = [...imports, 'tsx'].flatMap((module) => ['--import', module])
  const child = spawn(process.execPath, [...flags, 'src/main.ts', 'serve', '--config', path], {
    cwd: root,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const exited = once(child, 'exit')
  const { clients, operators } = await addressesOf(child)
  return {
    url: clients,
    operatorUrl: operators,
    dataDirectory,
    async peakBytes() {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8')
      return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]) * 1024
    },
    async stop() {
      child.kill('SIGTERM')
      const [code] = await exited
      return code
    },
  }
}

/** As its log says them. */
async function addressesOf(child: ChildProcess): Promise<{ clients: string; operators: string }> {
  let output = ''
  return await new Promise((resolve, reject) => {
    child.stdout!.on('data', (text) => {
      output += text
      const clients = /"clients: ([^"]+)"/.exec(output)?.[1]
      const operators = /"operators: ([^"]+)"/.exec(output)?.[1]
      if (clients && operators) resolve({ clients, operators })
      if (output.length > 1_000_000) output = ''
    })
    child.once('exit', (code) => reject(new Error(`ended with ${code}, having said:\n${output}`)))
  })
}
