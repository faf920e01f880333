import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const DONE = '-- that block is done --'

/** One shell for a whole page: where a block went, and which variables it set, the next one finds. */
export class Shell {
  readonly #bash: ChildProcess
  readonly #exited: Promise<unknown>
  #said = ''
  #blocks = 0

  /** @param path directories to look for programs in, before the system's. */
  constructor(
    private readonly directory: string,
    path: readonly string[],
    environment: Readonly<Record<string, string>>,
  ) {
    this.#bash = spawn('bash', ['--norc', '--noprofile'], {
      cwd: directory,
      env: { PATH: [...path, process.env.PATH].join(':'), HOME: directory, USER: 'reader', ...environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#exited = once(this.#bash, 'exit')
    for (const stream of [this.#bash.stdout!, this.#bash.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text
        this.#bash.emit('said')
      })
    }
    this.#bash.stdin!.on('error', () => {})
    this.#bash.stdin!.write(`set -Eeo pipefail\ntrap 'echo "this failed: $BASH_COMMAND"' ERR\n`)
  }

  /** Answers what it said, on both outputs. @throws Error with that, when a command of it fails. */
  async type(text: string): Promise<string> {
    this.#said = ''
    const file = join(this.directory, `.block-${++this.#blocks}.sh`)
    await writeFile(file, text)
    this.#bash.stdin!.write(`. '${file}' < /dev/null\necho '${DONE}'\n`)
    let hasEnded = false
    void this.#exited.then(() => {
      hasEnded = true
      this.#bash.emit('said')
    })
    while (!this.#said.includes(DONE)) {
      if (hasEnded) throw new Error(`${text}\n--- failed, and had said:\n${this.#said}`)
      await once(this.#bash, 'said')
    }
    return this.#said.replace(DONE, '')
  }

  async close(): Promise<void> {
    this.#bash.kill()
    await this.#exited
  }
}
