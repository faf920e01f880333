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

/** A mirror, in a directory of its own, and a shell there. */
interface Site {
  readonly directory: string
  readonly ports: { readonly clients: number; readonly operators: number }
  readonly shell: Shell
  mirror: MirrorProcess | undefined
}

/** Somebody who has a mirror, or several, an upstream, a shell in an empty directory for each, and does what a page says. */
export class Reader {
  /**
   * @param heldImage uuid of one that a mirror which reaches its upstreams holds when it is first asked.
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
    await mkdir(join(directory, 'media', 'usb'), { recursive: true })
    for (const [path, content] of Object.entries(files)) await write(join(directory, path), content)
    return new Reader(directory, upstream, programs, heldImage)
  }

  readonly #sites = new Map<string, Site>()

  private constructor(
    private readonly directory: string,
    private readonly upstream: TestServer,
    private readonly programs: string,
    private readonly heldImage: string,
  ) {}

  /** Runs the mirror of a site with this configuration, which is its `config.yaml` from now on. */
  async configure(yaml = CONFIG, name = ''): Promise<void> {
    const site = await this.#site(name)
    await site.mirror?.stop()
    const { clients, operators } = site.ports
    const listeners = { listen: `127.0.0.1:${clients}`, operator: `127.0.0.1:${operators}`, data: './data' }
    const settings = this.#here(yaml, site).replace(/^(listen|operator|data):.*\n/gm, '')
    const config = join(site.directory, 'config.yaml')
    await writeFile(config, `${stringify(listeners)}${settings}`)
    site.mirror = await MirrorProcess.startWith(config, join(site.directory, 'data'))
    if (/^offline: true$/m.test(yaml)) return
    // It has been in use: what it was told of, it knows, and something is held.
    await site.shell.type(`imgapi-mirror refresh > /dev/null; imgapi-mirror import ${this.heldImage} > /dev/null`)
  }

  /** Answers what was said. @throws Error when a command fails. */
  async type(text: string, name = ''): Promise<string> {
    const site = await this.#site(name)
    // A page with several begins with what there is before any of them runs.
    if (!site.mirror && name === '') await this.configure()
    return await site.shell.type(this.#here(text, site))
  }

  /** What the mirrors have written, for whoever looks into a failure. */
  get log(): readonly string[] {
    return [...this.#sites.values()].flatMap(({ mirror }) => mirror?.lines ?? [])
  }

  async close(): Promise<void> {
    for (const { mirror, shell } of this.#sites.values()) {
      await shell.close()
      await mirror?.kill()
    }
  }

  async #site(name: string): Promise<Site> {
    const known = this.#sites.get(name)
    if (known) return known
    const directory = join(this.directory, name)
    await mkdir(directory, { recursive: true })
    const ports = { clients: await freePort(), operators: await freePort() }
    const site = { directory, ports, shell: new Shell(directory, [this.programs], {}), mirror: undefined }
    this.#sites.set(name, site)
    return site
  }

  /** With the addresses and the medium that there are, instead of those that the page uses. */
  #here(text: string, { ports: { clients, operators } }: Site): string {
    return text
      .replaceAll(/\b(?:mirror|localhost|127\.0\.0\.1|0\.0\.0\.0):8080\b/g, `127.0.0.1:${clients}`)
      .replaceAll(/\b(?:mirror|localhost|127\.0\.0\.1):8081\b/g, `127.0.0.1:${operators}`)
      .replaceAll(/\bhttps?:\/\/[a-z]+\.(?:smartos\.org|example\.com)\b/g, this.upstream.url)
      .replaceAll('/media/usb', join(this.directory, 'media', 'usb'))
  }
}

async function write(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
}
