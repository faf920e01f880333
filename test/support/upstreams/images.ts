import { createHash, randomBytes } from 'node:crypto'
import type { ServedImage } from './serve.js'

/** The uuid number `number`: readable in a failed test, and in the order of the numbers. */
export function uuidOf(number: number): string {
  return `${number.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`
}

/** A v2 image with one file; `manifest` adds and replaces fields. */
export function imageV2(
  number: number,
  { manifest = {}, bytes = randomBytes(1000) }: { manifest?: Record<string, unknown>; bytes?: Buffer } = {},
): ServedImage {
  return {
    manifest: {
      v: 2,
      uuid: uuidOf(number),
      owner: '930896af-bf8c-48d4-885c-6573a94b1853',
      name: `image-${number}`,
      version: '1.0.0',
      state: 'active',
      disabled: false,
      public: true,
      published_at: new Date(Date.UTC(2020, 0, 1) + number * 1000).toISOString(),
      type: 'zone-dataset',
      os: 'smartos',
      files: [{ sha1: sha1Of(bytes), size: bytes.length, compression: 'gzip' }],
      ...manifest,
    },
    files: [bytes],
  }
}

/** A v1 image as smartos-image-server's import-image writes it; `file` adds to the file's entry. */
export function imageV1(
  number: number,
  {
    manifest = {},
    file = {},
    bytes = randomBytes(1000),
  }: { manifest?: Record<string, unknown>; file?: Record<string, unknown>; bytes?: Buffer } = {},
): ServedImage {
  return {
    manifest: {
      uuid: uuidOf(number),
      name: `image-${number}`,
      version: '1.0.0',
      description: 'made for a test',
      os: 'smartos',
      type: 'zone-dataset',
      platform_type: 'smartos',
      cloud_name: 'internal',
      creator_name: 'internal',
      creator_uuid: '',
      vendor_uuid: '',
      urn: `internal:internal:image-${number}:1.0.0`,
      created_at: '2021-01-04T12:34Z',
      published_at: '2021-01-04T12:34Z',
      files: [
        {
          path: `image-${number}-1.0.0.zfs.gz`,
          url: '-automatic-',
          sha1: sha1Of(bytes),
          size: bytes.length,
          ...file,
        },
      ],
      ...manifest,
    },
    files: [bytes],
  }
}

export function sha1Of(bytes: Buffer): string {
  return createHash('sha1').update(bytes).digest('hex')
}
