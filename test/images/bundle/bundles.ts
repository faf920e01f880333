import { createHash } from 'node:crypto'
import type { BundledFile, BundledImage, BundleIndex } from '../../../src/images/bundle/bundle-index.js'
import type { VolumeIndex } from '../../../src/images/bundle/volume-index.js'
import type { JsonObject } from '../../../src/parts/json-object.js'
import { parsed, uuid, v2 } from '../manifests.js'

export const MIB = 1024 * 1024

function hex(algorithm: 'sha256' | 'sha1' | 'md5', text: string): string {
  return createHash(algorithm).update(text).digest('hex')
}

export const sha256Of = (text: string) => hex('sha256', text)

export function bundledFile(name: string, sizeBytes: number): BundledFile {
  return { sizeBytes, sha256: hex('sha256', name), sha1: hex('sha1', name), md5: hex('md5', name) }
}

/** Image number `number`, with one file. */
export function bundledImage(number: number, changes: JsonObject = {}, sizeBytes = 3 * MIB + 5): BundledImage {
  const file = bundledFile(`file ${number}`, sizeBytes)
  const wire = { uuid: uuid(number), files: [{ sha1: file.sha1, size: sizeBytes, compression: 'gzip' }], ...changes }
  const { manifest } = parsed(v2(wire)).statement
  const { md5, sha1, sha256 } = file
  const digests = Object.entries({ sha256, sha1, md5 }).map(([algorithm, hex]) => ({ algorithm, hex }) as const)
  return {
    manifest: { ...manifest, files: manifest.files.map((each) => ({ ...each, digests: digests as never })) },
    upstream: 'smartos',
    files: [file],
    icon: undefined,
    isPublication: false,
  }
}

/** An index with an example of everything. */
export function bundleIndex(changes: Partial<BundleIndex> = {}): BundleIndex {
  const images = [
    bundledImage(1, { origin: uuid(9), tags: { role: 'os', 1: 'numbered' }, requirements: { min_ram: 64 } }),
    { ...bundledImage(2, { origin: uuid(1), icon: true }), isPublication: true },
  ]
  images[1] = { ...images[1]!, icon: { type: 'image/png', sizeBytes: 99, sha256: sha256Of('icon') } }
  const [first, second] = images.map(({ files }) => files[0]!.sha256) as [string, string]
  const sizeBytes = 3 * MIB + 5
  return {
    from: { site: 'open side, Zürich', key: '0123456789ABCDEF' },
    for: { site: 'closed', key: 'FEDCBA9876543210', inventory: sha256Of('inventory') },
    series: { name: 'weekly', number: 7, previous: sha256Of('the sixth') },
    select: ['name=~base-64', 'latest 2'],
    images,
    requires: [{ uuid: uuid(9), name: 'minimal', version: '1', files: [{ sizeBytes: 5, sha256: sha256Of('9') }] }],
    pieces: [
      { sha256: first, startBytes: 0, endBytes: sizeBytes, volume: 1 },
      { sha256: second, startBytes: 0, endBytes: MIB, volume: 1 },
      { sha256: second, startBytes: 2 * MIB, endBytes: sizeBytes, volume: 2 },
      { sha256: sha256Of('a layer as its registry has it'), startBytes: 0, endBytes: 7, volume: 2 },
    ],
    volumes: 2,
    docker: {
      objects: [
        {
          digest: { algorithm: 'sha256', hex: sha256Of('config') },
          sizeBytes: 6,
          mediaType: 'application/vnd.oci.image.config.v1+json',
          repositories: ['docker.io/library/busybox', 'localhost:5000/a/b'],
        },
      ],
      layers: [bundledFile('a layer as its registry has it', 7)],
      tags: [
        { host: 'docker.io', repository: 'library/busybox', tag: 'latest', digest: `sha256:${sha256Of('config')}` },
      ],
    },
    provenance: { sizeBytes: 10, sha256: sha256Of('provenance') },
    ...changes,
  }
}

export function volumeIndex(changes: Partial<VolumeIndex> = {}): VolumeIndex {
  const file = (path: string, sizeBytes: number, sha256 = sha256Of(path)) => ({ path, sizeBytes, sha256 })
  const whole = sha256Of('whole')
  return {
    bundle: sha256Of('bundle'),
    volume: 1,
    volumes: 2,
    files: [
      file('README.txt', 500),
      file(`docker/${sha256Of('config')}`, 6, sha256Of('config')),
      file(`files/${whole}`, 3 * MIB, whole),
      file(`files/${sha256Of('parted')}.${MIB}-${2 * MIB}`, MIB),
      file(`icons/${uuid(2)}.png`, 99),
      file(`manifests/${uuid(1)}.json`, 400),
      file('provenance.jsonl', 0),
    ],
    blocks: { blockBytes: 65_536, count: 68, sizeBytes: 32 * (68 + 8), sha256: sha256Of('blocks') },
    parity: {
      dataShards: 20,
      parityShards: 2,
      groups: 4,
      files: [file('parity/0000.rs', 6 * 65_536), file('parity/0001.rs', 2 * 65_536)],
    },
    ...changes,
  }
}

/** A copy of JSON in which the value at a path such as `images.0.files` is another one; `undefined` takes it away. */
export function withChange(json: unknown, path: string, value: unknown): unknown {
  const copy = structuredClone(json)
  const keys = path.split('.')
  const last = keys.pop()!
  const holder = keys.reduce((at, key) => (at as Record<string, unknown>)[key], copy) as Record<string, unknown>
  holder[last] = value
  return copy
}
