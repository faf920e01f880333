import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'

/** How long a server may take to stop before it is killed. */
const STOP_LIMIT_MS = 10_000

/** A server in a process of its own. */
export class ChildProcess {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child
  #output = ''

  get isRunning() {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Everything it wrote, since it was started first. */
  get output() {
    return this.#output
  }

  /**
   * @param {string} command
   * @param {readonly string[]} args
   * @param {NodeJS.ProcessEnv} environment
   * @param {(output: string) => boolean | Promise<boolean>} isUp asked again and again, with what it has written this time
   */
  async start(command, args, environment, isUp) {
    // A group of its own: Ctrl-C in the terminal is ours to hear, and to pass on in good order.
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment, detached: true })
    this.#child = child
    // However we end, it does not stay behind.
    process.once('exit', () => child.kill('SIGKILL'))
    const before = this.#output.length
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.#output += text
      })
    }
    /** @type {Error | undefined} */
    let failure
    child.on('error', (error) => {
      failure = error
    })
    while (!(await isUp(this.#output.slice(before)))) {
      if (failure) throw failure
      if (!this.isRunning) throw new Error(`${command} ended at once:\n${this.#output}`)
      await pause(20)
    }
  }

  /** @param {NodeJS.Signals} signal the one that ends it in good order */
  async stop(signal) {
    const child = this.#child
    if (!child || !this.isRunning) return
    const ended = once(child, 'exit')
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await ended
    clearTimeout(timer)
  }
}
