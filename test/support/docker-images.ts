import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'

export const TYPES = {
  list: 'application/vnd.docker.distribution.manifest.list.v2+json',
  schema2: 'application/vnd.docker.distribution.manifest.v2+json',
  schema2Config: 'application/vnd.docker.container.image.v1+json',
  gzipLayer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
} as const

export interface MadeBlob {
  readonly digest: string
  readonly mediaType: string
  readonly size: number
  readonly bytes: Buffer
}

/** A Docker image as its registry keeps it. */
export interface MadeDockerImage {
  readonly manifest: MadeBlob
  readonly config: MadeBlob
  /** Base first. */
  readonly layers: readonly MadeBlob[]
}

export function blobOf(bytes: Buffer, mediaType: string): MadeBlob {
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, mediaType, size: bytes.length, bytes }
}

export function jsonBlob(value: unknown, mediaType: string): MadeBlob {
  return blobOf(Buffer.from(JSON.stringify(value)), mediaType)
}

/** What a manifest says of a blob. */
export function descriptorOf({ digest, mediaType, size }: MadeBlob) {
  return { mediaType, size, digest }
}

/** A tar of one file, as old as time. */
export function tarOf(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(512)
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`
  header.write(name, 0)
  header.write(octal(0o644, 8) + octal(0, 8) + octal(0, 8) + octal(content.length, 12) + octal(0, 12), 100, 'latin1')
  header.write('        0', 148, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512)
  return Buffer.concat([header, content, padding, Buffer.alloc(1024)])
}

export function gzipLayer(name: string, content: Buffer | string = name): MadeBlob {
  return blobOf(gzipSync(tarOf(name, Buffer.from(content))), TYPES.gzipLayer)
}

/** An image of these layers; `config` is added to what every config has. */
export function dockerImage(
  layers: readonly MadeBlob[],
  config: Record<string, unknown> = {},
  isOci = false,
): MadeDockerImage {
  const configBlob = jsonBlob(
    {
      architecture: 'amd64',
      os: 'linux',
      created: '2024-05-06T07:08:09.123456789Z',
      config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
      history: layers.map((_, index) => ({ created: '2024-05-06T07:08:09Z', created_by: `step ${index}` })),
      ...config,
    },
    isOci ? TYPES.ociConfig : TYPES.schema2Config,
  )
  const mediaType = isOci ? TYPES.ociManifest : TYPES.schema2
  const manifest = jsonBlob(
    { schemaVersion: 2, mediaType, config: descriptorOf(configBlob), layers: layers.map(descriptorOf) },
    mediaType,
  )
  return { manifest, config: configBlob, layers }
}

/** An index of manifests, each with its platform (`linux/arm64/v8`); `unknown/unknown` is an attestation. */
export function indexOf(
  entries: readonly (readonly [platform: string, manifest: MadeBlob])[],
  isOci = false,
): MadeBlob {
  const mediaType = isOci ? TYPES.ociIndex : TYPES.list
  const manifests = entries.map(([platform, manifest]) => {
    const [os, architecture, variant] = platform.split('/')
    return {
      ...descriptorOf(manifest),
      platform: { os, architecture, ...(variant && { variant }) },
      ...(os === 'unknown' && { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } }),
    }
  })
  return jsonBlob({ schemaVersion: 2, mediaType, manifests }, mediaType)
}

/** As podman and buildah make them when told to: packed by Debian's `zstd`. */
export function zstdLayer(name: string, content: Buffer | string = name): MadeBlob {
  const packed = execFileSync('zstd', ['-q', '-c'], { input: tarOf(name, Buffer.from(content)), maxBuffer: 2 ** 28 })
  return blobOf(packed, `${TYPES.ociLayer}+zstd`)
}
