import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { type LayerImage, mapDockerImage } from '../../src/images/docker/layer-images.js'
import { sha256 } from './made-up-images.js'
import type { ServedImage } from './upstreams/serve.js'

/** The bytes of a layer: nothing that could be unpacked, but compressed as a registry's are. */
export function layerBytes(sizeBytes = 50_000): Buffer {
  return gzipSync(randomBytes(sizeBytes))
}

export interface MadeUpDockerImage {
  readonly localName?: string
  readonly tags?: readonly string[]
  /** Whatever the bytes are. */
  readonly mediaType?: string
}

/** The images of IMGAPI that a Docker image of these layers becomes, base first. */
export function dockerImages(layers: readonly Buffer[], more: MadeUpDockerImage = {}): readonly LayerImage[] {
  const { localName = 'busybox', tags = ['latest'], mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip' } = more
  return mapDockerImage({
    localName,
    tags,
    layers: layers.map((bytes) => ({ digest: `sha256:${sha256(bytes)}`, mediaType, sizeBytes: bytes.length })),
    config: { os: 'linux', architecture: 'amd64', created: '2024-05-06T07:08:09Z', config: { Cmd: ['sh'] } },
  })
}

/** The same as a mirror like us serves them before it has pulled one: no file has a sha1. */
export function servedLayers(layers: readonly Buffer[], more: MadeUpDockerImage = {}): ServedImage[] {
  return dockerImages(layers, more).map(({ manifest }, index) => ({
    manifest: JSON.parse(manifest.json) as Record<string, unknown>,
    files: [layers[index]],
  }))
}
