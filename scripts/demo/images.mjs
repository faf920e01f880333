// Images to play with: files of random bytes, gzipped, and the manifests that go with them.
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'

/**
 * @typedef {{ uuid: string, name: string, version: string, origin?: string, publishedAt: string, file: Buffer }} DemoImage
 *   `origin` is the uuid of the image this one builds on.
 */

/** Every image is a day younger than the one made before it. */
let made = 0

/**
 * @param {string} name
 * @param {string} version
 * @param {number} sizeBytes before gzip, which adds a little to random bytes
 * @param {DemoImage} [origin]
 * @returns {DemoImage}
 */
export function makeImage(name, version, sizeBytes, origin) {
  const file = gzipSync(randomBytes(sizeBytes), { level: 1 })
  made++
  const publishedAt = new Date(Date.UTC(2026, 0, made, 12, 34, 56)).toISOString()
  return { uuid: randomUUID(), name, version, publishedAt, file, ...(origin && { origin: origin.uuid }) }
}

/**
 * As an IMGAPI server says it.
 * @param {DemoImage} image
 */
export function manifestOf({ uuid, name, version, origin, publishedAt, file }) {
  return {
    v: 2,
    uuid,
    owner: '00000000-0000-0000-0000-000000000000',
    name,
    version,
    state: 'active',
    disabled: false,
    public: true,
    published_at: publishedAt,
    type: 'zone-dataset',
    os: 'smartos',
    files: [{ sha1: sha1Of(file), size: file.length, compression: 'gzip' }],
    ...(origin !== undefined && { origin }),
  }
}

/**
 * As the old dataset servers said it: no `v`, no `state`, a creator instead of an owner, minutes but no seconds, and the
 * compression only in the name of the file.
 * @param {DemoImage} image
 */
export function datasetOf({ uuid, name, version, origin, publishedAt, file }) {
  return {
    uuid,
    name,
    version,
    description: `${name}, for the demo`,
    os: 'smartos',
    type: 'zone-dataset',
    creator_uuid: '352971aa-31ba-496c-9ade-a379feaecd52',
    creator_name: 'demo',
    urn: `demo:demo:${name}:${version}`,
    published_at: `${publishedAt.slice(0, 16)}Z`,
    files: [{ path: `${name}-${version}.zfs.gz`, sha1: sha1Of(file), size: file.length }],
    ...(origin !== undefined && { origin }),
  }
}

/** @param {Buffer} bytes */
export function sha1Of(bytes) {
  return createHash('sha1').update(bytes).digest('hex')
}
