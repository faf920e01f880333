import { parseImageSelection } from '../../../src/images/docker/image-selection.js'
import type { UpstreamOptions } from '../../../src/upstream/make-upstream.js'
import type { RegistryMemory, RegistryObject } from '../../../src/upstream/registry-upstream.js'
import type { Listing, Upstream } from '../../../src/upstream/upstream.js'
import { listOf, never, upstreamAt } from '../upstream-under-test.js'

/** What a store does, without a disk. */
export class MapMemory implements RegistryMemory {
  readonly objects = new Map<string, RegistryObject>()
  readonly repositories = new Map<string, Set<string>>()

  async get(digest: string): Promise<RegistryObject | undefined> {
    return this.objects.get(digest)
  }

  async keep(repository: string, object: RegistryObject): Promise<void> {
    this.objects.set(object.digest, object)
    this.repositories.set(object.digest, (this.repositories.get(object.digest) ?? new Set()).add(repository))
  }
}

/** A registry as configuration would make it an upstream. */
export function dockerAt(url: string, images: readonly string[], options: Partial<UpstreamOptions> = {}): Upstream {
  const selections = images.map(parseImageSelection)
  return upstreamAt('docker', url, { images: selections, registryMemory: () => new MapMemory(), ...options })
}

export async function listed(url: string, images: readonly string[], options: Partial<UpstreamOptions> = {}) {
  return await listOf(dockerAt(url, images, options))
}

/** The images of a list by the name of their tags: `busybox:latest`. Those of inner layers are not among them. */
export function topsOf({ statements }: Listing): Map<string, Listing['statements'][number]> {
  return new Map(
    statements.flatMap((statement) => {
      const { tags } = JSON.parse(statement.manifest.json)
      const names = Object.keys(tags).filter((key) => key.startsWith('docker:tag:'))
      return names.map((name) => [`${tags['docker:repo']}:${name.slice('docker:tag:'.length)}`, statement] as const)
    }),
  )
}

/** The chain of an image, base first, by uuid. */
export function chainOf({ statements }: Listing, uuid: string): string[] {
  const statement = statements.find(({ manifest }) => manifest.uuid === uuid)
  if (!statement) throw new Error(`no image ${uuid}`)
  const { origin } = statement.manifest
  return [...(origin === undefined ? [] : chainOf({ statements } as Listing, origin)), uuid]
}

export async function fileOf(
  upstream: Upstream,
  statement: Listing['statements'][number],
  range: { startBytes?: number; endBytes?: number; validator?: string | undefined } = {},
): Promise<Buffer> {
  const { body } = await upstream.openFile({ statement, fileIndex: 0, startBytes: 0, ...range, signal: never })
  return Buffer.concat(await body.toArray())
}
