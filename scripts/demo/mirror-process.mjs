import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../free-port.mjs'
import { root } from '../ready.mjs'
import { ChildProcess } from './child-process.mjs'

/** How long upstreams may take to answer for the first time, or downloads to end. */
const WAIT_LIMIT_MS = 30_000

/**
 * What `/status` on the operator listener says, as far as the demo looks at it.
 * @typedef {object} Status
 * @property {unknown[]} flights
 * @property {{ name: string, state: string, images: number, nextRefreshAt: string | null }[]} upstreams
 */

/** An imgapi-mirror as an operator runs it: its own process, its own config file and data directory. */
export class MirrorProcess {
  /**
   * @param {string} directory
   * @param {readonly { name: string, type: 'imgapi' | 'dsapi', url: string, comment: string }[]} upstreams
   */
  static async make(directory, upstreams) {
    await mkdir(directory, { recursive: true })
    const [listen, operator] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
    const config = [
      `listen: ${listen}`,
      `operator: ${operator}`,
      'data: ./data',
      'upstreams: # order is precedence',
      ...upstreams.flatMap(({ name, type, url, comment }) => [
        `  - name: ${name} # ${comment}`,
        ...(type === 'imgapi' ? [] : [`    type: ${type}`]),
        `    url: ${url}`,
      ]),
    ]
    const configFile = join(directory, 'mirror.yaml')
    await writeFile(configFile, `${config.join('\n')}\n`)
    return new MirrorProcess(configFile, config, join(directory, 'data'), `http://${listen}`, `http://${operator}`)
  }

  #process = new ChildProcess()

  /**
   * @param {string} configFile
   * @param {readonly string[]} config its lines
   * @param {string} data
   * @param {string} url
   * @param {string} operatorUrl
   */
  constructor(configFile, config, data, url, operatorUrl) {
    this.configFile = configFile
    this.config = config
    this.data = data
    this.url = url
    this.operatorUrl = operatorUrl
  }

  /** What it has logged: one JSON object per line. */
  get log() {
    return this.#process.output
  }

  /** Resolves when every upstream has answered, or failed to. */
  async start() {
    // Proxies and keys of the environment are for the operator's own mirror, not for this one.
    const environment = { PATH: process.env.PATH }
    const args = [join(root, 'dist', 'main.js'), 'serve', '--config', this.configFile]
    await this.#process.start(process.execPath, args, environment, (output) => output.includes('"clients: '))
    await this.#until(({ upstreams }) => upstreams.every(({ state }) => state !== 'waiting'))
  }

  async stop() {
    await this.#process.stop('SIGTERM')
  }

  /** @returns {Promise<Status>} */
  async status() {
    const response = await fetch(`${this.operatorUrl}/status`)
    return /** @type {Status} */ (await response.json())
  }

  /** Resolves when no download is under way: what came is kept by then, or let go. */
  async landed() {
    await this.#until(({ flights }) => flights.length === 0)
  }

  /** @param {(status: Status) => boolean} isSo */
  async #until(isSo) {
    const startMs = performance.now()
    while (!isSo(await this.status())) {
      if (performance.now() - startMs > WAIT_LIMIT_MS) throw new Error(`the mirror keeps us waiting:\n${this.log}`)
      await pause(20)
    }
  }
}
