import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { stringify } from 'yaml'

const root = join(import.meta.dirname, '..', '..')

/** A mirror as an operator runs it: a process of its own, from the built program, to be killed. */
export class MirrorProcess {
  /** Starts it, and resolves when it answers clients; or, `isEager`, as soon as the process runs. */
  static async start(directory: string, settings: Record<string, unknown>, isEager = false): Promise<MirrorProcess> {
    const main = join(root, 'dist', 'main.js')
    if (!existsSync(main)) throw new Error('dist/main.js is missing: run `npm run build` first')
    const config = join(directory, 'mirror.yaml')
    const text = {
      listen: '127.0.0.1:0',
      operator: '127.0.0.1:0',
      data: './data',
      log: { format: 'json' },
      ...settings,
    }
    await writeFile(config, stringify(text))
    const child = spawn(process.execPath, [main, 'serve', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] })
    const mirror = new MirrorProcess(child)
    if (!isEager) await mirror.ready
    return mirror
  }

  /** Resolves when it answers clients; rejects if it ends before. */
  readonly ready: Promise<void>
  readonly lines: string[] = []
  readonly exited: Promise<number | null>
  url = ''
  operatorUrl = ''

  private constructor(private readonly child: ChildProcess) {
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
