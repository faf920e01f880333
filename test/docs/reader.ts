import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { freePort } from '../../scripts/free-port.mjs'
import { MirrorProcess } from '../support/mirror-process.js'
import type { TestServer } from '../support/upstreams/serve.js'
import { root } from './pages.js'
import { Shell } from './shell.js'

/** Programs that a page calls by name. The last two stand in for what only SmartOS has. */
const PROGRAMS = {
  'imgapi-mirror': join('dist', 'main.js'),
  imgadm: join('test', 'docs', 'stand-ins', 'imgadm.mjs'),
  zfs: join('test', 'docs', 'stand-ins', 'zfs.mjs'),
}

/** What the mirror of a page is configured with, until the page says otherwise. */
const CONFIG = `upstreams:
  - name: smartos
    url: https://images.smartos.org
`

/** Somebody who has a mirror, an upstream, a shell in an empty directory, and does what a page says. */
export class Reader {
  /**
   * @param heldImage uuid of one that the mirror holds when it is first asked.
   * @param files that the page takes for granted, by their paths.
   */
  static async open(
    directory: string,
    upstream: TestServer,
    heldImage: string,
    files: Readonly<Record<string, string>> = {},
  ): Promise<Reader> {
    const programs = join(directory, '.programs')
    for (const [name, path] of Object.entries(PROGRAMS)) {
      await write(join(programs, name), `#!/bin/sh\nexec ${process.execPath} ${join(root, path)} "$@"\n`)
      await chmod(join(programs, name), 0o755)
    }
    for (const [path, content] of Object.entries(files)) await write(join(directory, path), content)
    const ports = { clients: await freePort(), operators: await freePort() }
    return new Reader(directory, upstream, ports, new Shell(directory, [programs], {}), heldImage)
  }

  #mirror: MirrorProcess | undefined

  private constructor(
    private readonly directory: string,
    private readonly upstream: TestServer,
    private readonly ports: { readonly clients: number; readonly operators: number },
    private readonly shell: Shell,
    private readonly heldImage: string,
  ) {}

  /** Runs the mirror with this configuration, which is `config.yaml` from now on. */
  async configure(yaml = CONFIG): Promise<void> {
    await this.#mirror?.stop()
    const { clients, operators } = this.ports
    const listeners = { listen: `127.0.0.1:${clients}`, operator: `127.0.0.1:${operators}`, data: './data' }
    const settings = this.#here(yaml).replace(/^(listen|operator|data):.*\n/gm, '')
    const config = join(this.directory, 'config.yaml')
    await writeFile(config, `${stringify(listeners)}${settings}`)
    this.#mirror = await MirrorProcess.startWith(config, join(this.directory, 'data'))
    // It has been in use: what it was told of, it knows, and something is held.
    await this.shell.type(`imgapi-mirror refresh > /dev/null; imgapi-mirror import ${this.heldImage} > /dev/null`)
  }

  /** Answers what was said. @throws Error when a command fails. */
  async type(text: string): Promise<string> {
    if (!this.#mirror) await this.configure()
    return await this.shell.type(this.#here(text))
  }

  /** What the mirror has written, for whoever looks into a failure. */
  get log(): readonly string[] {
    return this.#mirror?.lines ?? []
  }

  async close(): Promise<void> {
    await this.shell.close()
    await this.#mirror?.kill()
  }

  /** With the addresses that there are, instead of those that the page uses. */
  #here(text: string): string {
    const { clients, operators } = this.ports
    return text
      .replaceAll(/\b(?:mirror|localhost|127\.0\.0\.1|0\.0\.0\.0):8080\b/g, `127.0.0.1:${clients}`)
      .replaceAll(/\b(?:mirror|localhost|127\.0\.0\.1):8081\b/g, `127.0.0.1:${operators}`)
      .replaceAll(/\bhttps?:\/\/[a-z]+\.(?:smartos\.org|example\.com)\b/g, this.upstream.url)
  }
}

async function write(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
}
