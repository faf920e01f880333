import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { link, mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { madeUpBytes } from '../../test/support/made-up-bytes.js'
import { startNginx } from './nginx.js'

/** An image on the origin. */
export interface OriginImage {
  readonly uuid: string
  /** Path of its file for IMGAPI. */
  readonly filePath: string
  /** Path of the same file for Docker clients, as a blob. */
  readonly blobPath: string
  /** The file on the origin's disk. */
  readonly file: string
  readonly sizeBytes: number
  readonly sha1: string
}

/** Where everybody pulls from: an nginx that answers IMGAPI, and the blobs of a Docker registry, from plain files. */
export interface Origin {
  readonly url: string
  readonly images: readonly OriginImage[]
  /** Bytes of this image's file that were sent since `forget`, to whomever, by the origin's own log. */
  sentBytes(image: OriginImage): Promise<number>
  forget(): Promise<void>
  close(): Promise<void>
}

export interface OriginForm {
  /** How many images with a file of how many bytes. No two files are the same. */
  readonly count: number
  readonly sizeBytes: number
  /** Bytes per second that each connection gets. */
  readonly bytesPerConnection?: number
}

/** What differs from file to file stands in front, and what does not is made once. */
const REPEATED_BYTES = 16 * 2 ** 20

export async function startOrigin(
  directory: string,
  { count, sizeBytes, bytesPerConnection }: OriginForm,
): Promise<Origin> {
  const root = join(directory, 'root')
  const images: OriginImage[] = []
  const manifests: object[] = []
  const repeated = madeUpBytes(Math.min(REPEATED_BYTES, sizeBytes), 1)
  await mkdir(join(root, 'blobs'), { recursive: true })
  for (let place = 0; place < count; place++) {
    const { image, manifest } = await layDown(root, place, sizeBytes, repeated)
    images.push(image)
    manifests.push(manifest)
  }
  await writeFile(join(root, 'images.json'), JSON.stringify(manifests))

  const nginx = await startNginx(
    directory,
    `root ${root};
     ${bytesPerConnection ? `limit_rate ${bytesPerConnection};` : ''}
     location = /ping { default_type application/json; return 200 '{"ping":"pong"}'; }
     location = /images { default_type application/json; try_files /images.json =404; }
     location ~ ^/images/([0-9a-f-]+)$ { default_type application/json; try_files /images/$1/manifest.json =404; }
     location ~ ^/v2/$ { add_header Docker-Distribution-Api-Version registry/2.0; default_type application/json; return 200 '{}'; }
     location ~ ^/v2/bench/blobs/sha256:([0-9a-f]+)$ { try_files /blobs/$1 =404; }`,
  )
  return {
    url: nginx.url,
    images,
    async sentBytes({ blobPath, filePath, sizeBytes }) {
      const stored = blobPath.replace('/v2/bench/blobs/sha256:', '/blobs/')
      const lines = (await readFile(nginx.accessLog, 'utf8')).split('\n').map((line) => line.split(' '))
      const sent = lines.filter(([, path = '']) => path === filePath || path === stored || path === blobPath)
      return sent.reduce((sum, [bytes]) => sum + Math.min(Number(bytes), sizeBytes), 0)
    },
    forget: () => truncate(nginx.accessLog),
    close: () => nginx.close(),
  }
}

async function layDown(
  root: string,
  place: number,
  sizeBytes: number,
  repeated: Buffer,
): Promise<{ image: OriginImage; manifest: object }> {
  const uuid = `00000000-0000-4000-8000-${String(place).padStart(12, '0')}`
  const directory = join(root, 'images', uuid)
  const file = join(directory, 'file')
  await mkdir(directory, { recursive: true })
  const sha1 = createHash('sha1')
  const sha256 = createHash('sha256')
  function* pieces() {
    for (let at = 0; at < sizeBytes; at += repeated.length) {
      const piece = repeated.subarray(0, Math.min(repeated.length, sizeBytes - at))
      if (at === 0) piece.writeUInt32BE(place)
      sha1.update(piece)
      sha256.update(piece)
      // A copy: the next file is begun in the same memory.
      yield Buffer.from(piece)
    }
  }
  await pipeline(Readable.from(pieces()), createWriteStream(file))
  const blob = sha256.digest('hex')
  const manifest = {
    v: 2,
    uuid,
    owner: '00000000-0000-0000-0000-000000000000',
    name: `bench-${place}`,
    version: '1.0.0',
    state: 'active',
    disabled: false,
    public: true,
    published_at: '2024-05-06T07:08:09.123Z',
    type: 'zone-dataset',
    os: 'smartos',
    description: 'An image to be measured with',
    files: [{ sha1: sha1.digest('hex'), size: sizeBytes, compression: 'none' }],
  }
  await writeFile(join(directory, 'manifest.json'), JSON.stringify(manifest, null, 2))
  await link(file, join(root, 'blobs', blob))
  const image = {
    uuid,
    file,
    sizeBytes,
    sha1: manifest.files[0]!.sha1,
    filePath: `/images/${uuid}/file`,
    blobPath: `/v2/bench/blobs/sha256:${blob}`,
  }
  return { image, manifest }
}
