import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { ENVIRONMENT } from '../machine.js'

/** How long a server may take until it answers: with a million blobs, on a machine with much else to do. */
const START_MS = 300_000

/** What the kernel counts time in (`getconf CLK_TCK`), on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

export interface ServerCommand {
  readonly command: string
  readonly args: readonly string[]
  /** Everything it writes goes there, so that our own loop has no part in it. */
  readonly log: string
  readonly directory?: string
  readonly environment?: Readonly<Record<string, string>>
  /** Whether it serves by now. */
  isUp(server: ServerProcess): Promise<boolean>
}

/** A server beside us, in a process of its own. */
export class ServerProcess {
  /** @throws Error with the end of its log when it ends before it serves. */
  static async start({ command, args, log, directory, environment, isUp }: ServerCommand): Promise<ServerProcess> {
    const output = openSync(log, 'a')
    const child = spawn(command, args, {
      stdio: ['ignore', output, output],
      env: { ...ENVIRONMENT, ...environment },
      ...(directory !== undefined && { cwd: directory }),
    })
    closeSync(output)
    const server = new ServerProcess(child, log)
    const deadlineMs = performance.now() + START_MS
    while (!(await isUp(server).catch(() => false))) {
      const isOver = child.exitCode !== null || child.signalCode !== null
      if (!isOver && performance.now() < deadlineMs) {
        await wait(20)
        continue
      }
      await server.kill()
      throw new Error(`${command} ${isOver ? 'ended' : 'does not answer'}: ${server.said.slice(-2000)}`)
    }
    return server
  }

  readonly #child: ChildProcess
  readonly #log: string

  private constructor(child: ChildProcess, log: string) {
    this.#child = child
    this.#log = log
    // Without a listener, a command that is not there would end us and not only the attempt.
    child.on('error', () => {})
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** What it has written. */
  get said(): string {
    return readFileSync(this.#log, 'utf8')
  }

  /** User and system time that it and its children have used so far. */
  async cpuSeconds(): Promise<number> {
    const pids = [this.pid, ...(await childrenOf(this.pid))]
    const spent = await Promise.all(pids.map(cpuSecondsOf))
    return spent.reduce((sum, seconds) => sum + seconds, 0)
  }

  /** Resident memory at this moment, in bytes; of the process alone. */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8')
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) * 1024
  }

  /** The most it ever had resident, in bytes; of the process alone. */
  async peakResidentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8')
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]) * 1024
  }

  /** It does nothing any more, and can be killed where it stands. */
  freeze(): void {
    this.#child.kill('SIGSTOP')
  }

  /** As a service manager does. */
  async close(): Promise<void> {
    await this.#end('SIGTERM')
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill(signal)
    await exited
  }
}

/** Of the whole family: nginx serves from children, which may have their own. */
async function childrenOf(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => [])
  const lists = tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => ''))
  const children = (await Promise.all(lists)).flatMap((list) => list.split(' ').filter(Boolean).map(Number))
  return [...children, ...(await Promise.all(children.map(childrenOf))).flat()]
}

async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // Fields 14 and 15, counted behind the name, which may hold blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND
}
