import { mkdir, open as openFile, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { parse, stringify } from 'yaml'
import { madeUpImage, writeMadeUpBundle } from '../bundle/made-up-bundle.js'
import { makeSigner } from '../bundle/signers.js'
import { runCommand } from '../cli/run-command.js'
import { uuid } from '../images/manifests.js'
import { dockerImage, gzipLayer, tarOf, zstdLayer } from '../support/docker-images.js'
import { skopeo, whyNoDockerRegistry } from '../support/docker-registry.js'
import { madeUpBytes } from '../support/made-up-bytes.js'
import { makeImage, sha256, uuidOf } from '../support/made-up-images.js'
import { startMadeUpRegistry } from '../support/made-up-registry.js'
import type { MirrorProcess } from '../support/mirror-process.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'
import { carriedBytes, HandedOver, largestPieces } from './handed-over.js'
import { startMirrorProcess } from './mirror-process.js'

const WATCH = fileURLToPath(new URL('network-watch.mjs', import.meta.url))
const KIB = 1024
const MIB = 1024 * KIB
const JOURNEY_LIMIT_MS = 180_000

const image = (name: string, sizeBytes: number, seed: number, origin?: ServedImage) =>
  makeImage({ name, version: String(seed), ...(origin && { origin: uuidOf(origin) }) }, madeUpBytes(sizeBytes, seed))

const BASE = image('base', 3 * MIB + 7, 1)
const WEB = image('web', 2 * MIB, 2, BASE)
const NEW_BASE = image('base', 5 * MIB + 99, 3)
const NEW_WEB = image('web', 4 * MIB + 1, 4, NEW_BASE)
const TOOL = image('tool', 3 * MIB, 5)
const SHOP = image('shop', MIB + 500, 6, NEW_WEB)

/** One whose second layer clients of IMGAPI get packed anew. */
const layers = [gzipLayer('one', madeUpBytes(300 * KIB, 7)), zstdLayer('two', madeUpBytes(200 * KIB, 8))] as const
const diffIds = [tarOf('one', madeUpBytes(300 * KIB, 7)), tarOf('two', madeUpBytes(200 * KIB, 8))].map(
  (tar) => `sha256:${sha256(tar)}`,
)
const APP = dockerImage(layers, { rootfs: { type: 'layers', diff_ids: diffIds } }, true)

interface Listed {
  readonly uuid: string
  readonly name: string
  readonly origin?: string
}

/** Two sides of an air gap, and a model of what went over it. */
class Journey {
  readonly #handedOver = new HandedOver()
  readonly #images = new Map<string, Listed & { readonly file: string }>()
  #exports = 0

  private constructor(
    readonly open: MirrorProcess,
    readonly closed: MirrorProcess,
    private readonly directory: string,
  ) {
    for (const { bytes } of layers) this.#handedOver.know(bytes)
  }

  static async begin(upstreams: readonly object[], watched: string): Promise<Journey> {
    // Keys are made when a mirror first runs, and exchanged after that.
    const open = await startMirrorProcess({ upstreams, bundles: { site: 'open' }, scrub: { every: 'never' } })
    const closed = await startMirrorProcess(
      {
        ...{ upstreams, offline: true, refresh: '100ms', scrub: { every: 'never' } },
        bundles: { site: 'closed', trustedKeys: [join(open.dataDirectory, 'keys', 'mirror.pub')], wanted: ['all'] },
      },
      { imports: [WATCH], environment: { NETWORK_WATCH: watched } },
    )
    const path = join(dirname(open.dataDirectory), 'mirror.yaml')
    const config = parse(await readFile(path, 'utf8')) as { bundles: object }
    const trustedKeys = [join(closed.dataDirectory, 'keys', 'mirror.pub')]
    await writeFile(path, stringify({ ...config, bundles: { ...config.bundles, trustedKeys } }))
    const journey = new Journey(open, closed, await temporaryDirectory())
    await journey.run(open, 'reload')
    return journey
  }

  /** A command that succeeds, or ends with that code. Answers what it printed. */
  async run(at: MirrorProcess, ...args: (string | { readonly code: number })[]): Promise<string> {
    const expected = args.find((arg) => typeof arg !== 'string')?.code ?? 0
    const words = args.filter((arg) => typeof arg === 'string')
    const { code, err, out } = await runCommand([...words, '--url', at.operatorUrl], {
      writeFile: (path, text) => writeFile(path, text),
    })
    expect({ words, code, said: code === expected ? '' : out + err }).toEqual({ words, code: expected, said: '' })
    return out
  }

  /** Images that can be had on the open side now may come, too. */
  async learn(): Promise<void> {
    const listed = (await (await fetch(`${this.open.url}/images`)).json()) as Listed[]
    for (const each of listed) {
      if (this.#images.has(each.uuid)) continue
      const file = Buffer.from(await (await fetch(`${this.open.url}/images/${each.uuid}/file`)).arrayBuffer())
      this.#images.set(each.uuid, { ...each, file: this.#handedOver.know(file) })
    }
  }

  /** Answers the paths of the volumes, which have exactly those bytes that the closed side lacks. */
  async export(inventory: string | undefined, volumeSize: string): Promise<string[]> {
    const medium = join(this.directory, `medium-${++this.#exports}`)
    await mkdir(medium)
    const forWhom = inventory === undefined ? [] : ['--for', inventory]
    await this.run(this.open, 'export', '-o', medium, '--volume-size', volumeSize, ...forWhom)
    await this.learn()
    const volumes = (await readdir(medium)).sort().map((name) => join(medium, name))
    expect(await carriedBytes(volumes)).toBe(this.#handedOver.lackingBytes)
    return volumes
  }

  async inventory(): Promise<string> {
    const path = join(this.directory, 'site.inv')
    await writeFile(path, await this.run(this.closed, 'inventory'))
    return path
  }

  /** Puts a volume in, and looks what the closed side has then. Answers what it said. */
  async import(volume: string, code: number, ...options: string[]): Promise<string> {
    const said = await this.run(this.closed, 'import-bundle', volume, ...options, { code })
    await this.expectWhatBoots()
    return said
  }

  /** The volume is intact, or its parity makes it so. */
  async willArrive(volume: string): Promise<void> {
    await this.#handedOver.take(volume)
  }

  get isEverythingThere(): boolean {
    return this.#handedOver.lackingBytes === 0
  }

  async expectWhatBoots(): Promise<void> {
    const boots = (each: string | undefined): boolean => {
      if (each === undefined) return true
      const known = this.#images.get(each)!
      return this.#handedOver.isWhole(known.file) && boots(known.origin)
    }
    const listed = (await (await fetch(`${this.closed.url}/images`)).json()) as Listed[]
    expect(listed.map((each) => each.uuid).sort()).toEqual([...this.#images.keys()].filter(boots).sort())
    for (const each of listed) {
      const file = await (await fetch(`${this.closed.url}/images/${each.uuid}/file`)).arrayBuffer()
      expect(sha256(Buffer.from(file))).toBe(this.#images.get(each.uuid)!.file)
    }
  }
}

/** Overwrites so many bytes in the middle of the largest file of images on a volume. */
async function damage(volume: string, sizeBytes: number): Promise<void> {
  const [path] = await largestPieces(volume)
  const file = await openFile(path!, 'r+')
  try {
    const { size } = await file.stat()
    expect(size).toBeGreaterThan(sizeBytes)
    const at = Math.floor((size - sizeBytes) / 2)
    await file.write(Buffer.alloc(sizeBytes, 'a scratch '), 0, sizeBytes, at)
  } finally {
    await file.close()
  }
}

it(
  'carries images over an air gap, whatever becomes of the media: what is listed boots, and nothing is carried twice',
  async () => {
    const images = [BASE, WEB]
    const central = await startSdcImgapi({ images })
    onTestFinished(() => central.close())
    const registry = await startMadeUpRegistry()
    registry.put('library/app', APP, 'latest')
    const watched = join(await temporaryDirectory(), 'seen')
    await writeFile(watched, '')
    const journey = await Journey.begin(
      [
        { name: 'central', url: central.url },
        { name: 'hub', type: 'docker', url: registry.url, images: ['library/app:latest'], recompress: 'gzip' },
      ],
      watched,
    )
    const { closed, open } = journey
    const openLists = async (count: number) => {
      await journey.run(open, 'refresh')
      await until(async () => ((await (await fetch(`${open.url}/images`)).json()) as Listed[]).length === count)
    }

    // A full bundle: all that is held.
    await openLists(4)
    const first = (await (await fetch(`${open.url}/images`)).json()) as Listed[]
    await journey.run(open, 'import', ...first.map((each) => each.uuid))
    const full = await journey.export(undefined, '4MiB')
    expect(full.length).toBeGreaterThan(1)
    for (const [place, volume] of full.entries()) {
      await journey.willArrive(volume)
      await journey.import(volume, place === full.length - 1 ? 0 : 3)
    }
    expect(journey.isEverythingThere).toBe(true)

    // New images; the volumes come in another order, and the first one never.
    images.push(NEW_BASE, NEW_WEB, TOOL)
    await openLists(7)
    const [lost, ...others] = await journey.export(await journey.inventory(), '5MiB')
    expect(others.length).toBeGreaterThan(1)
    await rm(lost!, { recursive: true })
    const ticket = join(await temporaryDirectory(), 'request.inv')
    for (const volume of others.toReversed()) {
      await journey.willArrive(volume)
      const said = await journey.import(volume, 3, '--request', ticket)
      expect(said).toContain('lacks\n  volume 1')
    }

    // What the ticket asks for: a scratch that parity heals, one that it does not, and a volume that came before.
    const [scratched, ruined, ...more] = await journey.export(ticket, '3MiB')
    await journey.willArrive(scratched!)
    await damage(scratched!, 16 * KIB)
    expect(await journey.import(scratched!, 3)).not.toContain('damaged:')
    await damage(ruined!, MIB)
    await journey.willArrive(ruined!)
    expect(await journey.import(ruined!, 3)).toMatch(/is damaged: \d+ bytes .* beyond what its parity can heal/)
    expect(await journey.import(others[0]!, 3)).toContain('0 B taken')
    for (const volume of more) {
      await journey.willArrive(volume)
      await journey.import(volume, 3)
    }
    expect(journey.isEverythingThere).toBe(false)

    // The next inventory heals the rest; between its volumes is one by somebody whom nobody trusts.
    images.push(SHOP)
    await openLists(8)
    const rest = await journey.export(await journey.inventory(), '3MiB')
    const foreign = madeUpImage(uuid(66), madeUpBytes(MIB, 66), { name: 'foreign' })
    const stranger = await writeMadeUpBundle(await temporaryDirectory(), [foreign], { by: makeSigner(), site: 'open' })
    expect(await journey.import(stranger.volumes[0]!, 1)).toContain('is refused')
    for (const [place, volume] of rest.toReversed().entries()) {
      await journey.willArrive(volume)
      await journey.import(volume, place === rest.length - 1 ? 0 : 3)
    }
    expect(journey.isEverythingThere).toBe(true)
    expect(await journey.run(closed, 'bundles')).toBe('nothing is lacking of any bundle\n')
    expect(await carriedBytes(await journey.export(await journey.inventory(), '3MiB'))).toBe(0)

    // Clients of Docker have theirs from the closed side, as the registry had them.
    if (whyNoDockerRegistry() === undefined) {
      const copy = await temporaryDirectory()
      const from = `docker://${new URL(closed.url).host}/library/app:latest`
      await skopeo(await temporaryDirectory(), 'copy', '--src-tls-verify=false', from, `dir:${copy}`)
      expect((await readFile(join(copy, 'manifest.json'))).equals(APP.manifest.bytes)).toBe(true)
      for (const { bytes, digest } of [APP.config, ...layers]) {
        expect((await readFile(join(copy, digest.slice('sha256:'.length)))).equals(bytes)).toBe(true)
      }
    }
    expect(await readFile(watched, 'utf8')).toBe('')
    expect(await closed.stop()).toBe(0)
  },
  JOURNEY_LIMIT_MS,
)
