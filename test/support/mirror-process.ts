import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { stringify } from 'yaml'

const root = join(import.meta.dirname, '..', '..')

export interface ProcessOptions {
  /** Resolve as soon as the process runs, and not only when it answers clients. */
  readonly isEager?: boolean
  /** Run what is in `src/`, and not what was built of it, which is quicker to start. */
  readonly isFromSource?: boolean
  /** Where the package is installed that is run, instead of this clone: an absolute path. */
  readonly installedIn?: string
  /** Modules that Node loads before anything of ours. */
  readonly imports?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** A command that runs the one behind it, in its own place: so that signals reach the mirror. */
  readonly within?: readonly string[]
}

/** A mirror as an operator runs it: a process of its own, to be killed. */
export class MirrorProcess {
  /**
   * Starts it, and resolves when it answers clients.
   * @param directory where its config file lies, and its data if the settings do not say otherwise.
   * @param settings as in the config file; listeners are filled in.
   */
  static async start(
    directory: string,
    settings: Record<string, unknown>,
    options: ProcessOptions = {},
  ): Promise<MirrorProcess> {
    const config = join(directory, 'mirror.yaml')
    const text: { data: string } & Record<string, unknown> = {
      listen: '127.0.0.1:0',
      operator: '127.0.0.1:0',
      data: './data',
      log: { format: 'json' },
      ...settings,
    }
    await writeFile(config, stringify(text))
    return await MirrorProcess.startWith(config, resolve(directory, text.data), options)
  }

  /** As `start`, with a config file that is there already. */
  static async startWith(
    config: string,
    dataDirectory: string,
    {
      isEager = false,
      isFromSource = false,
      installedIn = root,
      imports = [],
      environment = {},
      within = [],
    }: ProcessOptions = {},
  ): Promise<MirrorProcess> {
    const main = isFromSource ? join('src', 'main.ts') : join('dist', 'main.js')
    if (!existsSync(join(installedIn, main))) throw new Error(`${main} is missing: run \`npm run build\` first`)
    const modules = isFromSource ? [...imports, 'tsx'] : imports
    const flags = modules.flatMap((module) => ['--import', module])
    const [command, ...args] = [...within, process.execPath, ...flags, main, 'serve', '--config', config]
    const child = spawn(command!, args, {
      cwd: installedIn,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const mirror = new MirrorProcess(child, dataDirectory)
    if (!isEager) await mirror.ready
    return mirror
  }

  /** Resolves when it answers clients; rejects if it ends before. */
  readonly ready: Promise<void>
  /** Everything it has written, on both outputs. */
  readonly lines: string[] = []
  readonly exited: Promise<number | null>
  url = ''
  operatorUrl = ''

  private constructor(
    private readonly child: ChildProcess,
    readonly dataDirectory: string,
  ) {
    this.exited = once(child, 'exit').then(([code]) => code as number | null)
    child.stderr!.on('data', (text) => this.lines.push(String(text)))
    this.ready = new Promise((resolve, reject) => {
      createInterface({ input: child.stdout! }).on('line', (line) => {
        this.lines.push(line)
        this.operatorUrl = /"operators: (http:[^"]+)"/.exec(line)?.[1] ?? this.operatorUrl
        const url = /"clients: (http:[^"]+)"/.exec(line)?.[1]
        if (!url) return
        this.url = url
        resolve()
      })
      void this.exited.then((code) => reject(new Error(`the mirror ended with ${code}:\n${this.lines.join('\n')}`)))
    })
    this.ready.catch(() => {})
  }

  /** Bytes of image files that the process has received since it runs, as it counts them itself. */
  async receivedBytes(): Promise<number> {
    const text = await (await fetch(`${this.operatorUrl}/metrics`)).text()
    const counts = text.matchAll(/^imgapi_mirror_upstream_received_bytes_total\{[^}]*\} (\d+)/gm)
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
  }

  /** The most memory it has ever had resident, in bytes. */
  async peakBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.child.pid}/status`, 'utf8')
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]) * 1024
  }

  /** At this very moment, wherever it is. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.exited
  }

  /** As a service manager does. Answers the exit code. */
  async stop(): Promise<number | null> {
    this.child.kill('SIGTERM')
    return await this.exited
  }
}
