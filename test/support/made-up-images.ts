import { createHash, randomBytes, randomUUID } from 'node:crypto'
import type { ServedImage } from './upstreams/serve.js'

export function sha1(bytes: Buffer): string {
  return createHash('sha1').update(bytes).digest('hex')
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** An image with a file of random bytes, as an IMGAPI server stores it. */
export function makeImage(more: Record<string, unknown> = {}, bytes: Buffer = randomBytes(100_000)): ServedImage {
  const manifest = {
    v: 2,
    uuid: randomUUID(),
    owner: '00000000-0000-0000-0000-000000000000',
    name: 'made-up',
    version: '1.0.0',
    state: 'active',
    disabled: false,
    public: true,
    published_at: '2024-05-06T07:08:09.123Z',
    type: 'zone-dataset',
    os: 'smartos',
    files: [{ sha1: sha1(bytes), size: bytes.length, compression: 'none' }],
    ...more,
  }
  return { manifest, files: [bytes] }
}

/** The same as a v1 server stores it. */
export function makeDataset(more: Record<string, unknown> = {}, bytes: Buffer = randomBytes(100_000)): ServedImage {
  const uuid = (more.uuid as string | undefined) ?? randomUUID()
  const path = 'made-up-1.0.0.zfs.gz'
  const manifest = {
    uuid,
    name: 'made-up',
    version: '1.0.0',
    description: 'made up',
    os: 'smartos',
    type: 'zone-dataset',
    creator_uuid: '352971aa-31ba-496c-9ade-a379feaecd52',
    creator_name: 'sdc',
    vendor_uuid: '352971aa-31ba-496c-9ade-a379feaecd52',
    urn: 'sdc:sdc:made-up:1.0.0',
    created_at: '2011-04-11T08:45Z',
    published_at: '2011-04-11T08:45Z',
    files: [{ path, sha1: sha1(bytes), size: bytes.length }],
    ...more,
  }
  return { manifest, files: [bytes] }
}

export function uuidOf({ manifest }: ServedImage): string {
  return manifest.uuid as string
}
