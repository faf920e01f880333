import { isMirrorError, MirrorError } from '../errors.js'
import { isJsonObject, type JsonObject } from '../parts/json-object.js'
import { type CredentialOptions, makeProof } from './publish/credentials.js'
import { type ImageSource, openImageSource } from './publish/image-source.js'
import { ImgapiClient } from './publish/imgapi-client.js'
import { type ManifestOptions, makeManifest } from './publish/make-manifest.js'
import type { Surroundings } from './surroundings.js'

export interface PublishOptions extends ManifestOptions, CredentialOptions {
  readonly manifest?: string | undefined
  readonly file?: string | undefined
  readonly channel?: string | undefined
  readonly ca?: string | undefined
  /** False for `--no-activate`. */
  readonly activate: boolean
  readonly dryRun?: true | undefined
}

/** Types whose file is a `zfs send`: nothing else can be installed of them. */
const ZFS_TYPES: readonly unknown[] = ['zone-dataset', 'lx-dataset', 'zvol']

/**
 * Publishes an image as imgadm does: manifest, file, activation; and prints its uuid. The file is hashed on its way, and
 * is activated only if the server has exactly the same; otherwise nothing is left behind. Answers the exit code.
 *
 * @throws MirrorError.
 */
export async function publish(address: string, options: PublishOptions, surroundings: Surroundings): Promise<number> {
  const { complain, readFile, version, write, stop, openInput } = surroundings
  const url = parseUrl(address)
  const text = options.manifest === undefined ? undefined : await readText(options.manifest, readFile)
  const manifest = makeManifest(text, manifestOptionsOf(options))
  const prove = await makeProof(options, url, readFile)
  const ca = options.ca === undefined ? undefined : await readText(options.ca, readFile)

  const input = await openInput(options.file)
  const source = await openImageSource(input.stream, options.file ?? 'standard input')
  try {
    if (source.isZfsStream === false && ZFS_TYPES.includes(manifest.type)) {
      const name = options.file ?? 'standard input'
      throw new MirrorError(
        'UPLOAD_REFUSED',
        `${name} is neither compressed nor a zfs stream, as a ${String(manifest.type)} must be`,
      )
    }
    if (options.dryRun) {
      write(`${JSON.stringify({ ...manifest, files: [{ compression: source.compression }] }, null, 2)}\n`)
      return 0
    }
    const channel = options.channel ?? url.searchParams.get('channel') ?? undefined
    const userAgent = `imgapi-mirror/${version} publish`
    const client = new ImgapiClient({ url, channel, prove, ca, userAgent, signal: stop })
    const { files: _files, ...toImport } = manifest
    await client.importImage(toImport as typeof manifest)
    try {
      await fill(client, manifest.uuid, source, input.sizeBytes)
      if (options.activate) await client.activateImage(manifest.uuid)
    } catch (error) {
      await takeBack(client, manifest.uuid, complain)
      throw error
    }
    write(`${manifest.uuid}\n`)
    return 0
  } finally {
    source.body.destroy()
    input.stream.destroy()
  }
}

async function fill(
  client: ImgapiClient,
  uuid: string,
  { body, compression, measured }: ImageSource,
  sizeBytes: number | undefined,
): Promise<void> {
  const stored = fileOf(await client.addImageFile(uuid, body, { compression, sizeBytes }))
  const sent = measured()
  if (stored?.sha1 === sent.sha1 && stored.size === sent.sizeBytes) return
  throw new MirrorError(
    'UPSTREAM_MISBEHAVED',
    `what was sent is not what was kept: ${sent.sizeBytes} bytes with sha1 ${sent.sha1}, and ${String(stored?.size)} with ${String(stored?.sha1)}`,
  )
}

function fileOf({ files }: JsonObject): JsonObject | undefined {
  const file: unknown = Array.isArray(files) ? files[0] : undefined
  return isJsonObject(file) ? file : undefined
}

/** What was begun here, and only that: an image that was there before has refused to be imported. */
async function takeBack(client: ImgapiClient, uuid: string, complain: (text: string) => void): Promise<void> {
  try {
    await client.deleteImage(uuid)
  } catch (error) {
    if (!isMirrorError(error)) throw error
    complain(`imgapi-mirror: image ${uuid} is left behind without being active: ${error.message}\n`)
  }
}

function parseUrl(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url && (url.protocol === 'http:' || url.protocol === 'https:')) return url
  // What stands before an @ is a password.
  const shown = address.replace(/[^/]*@/, '(secret)@')
  throw new MirrorError('CONFIG_INVALID', `"${shown}" is no address of a mirror, such as https://mirror.example.com`)
}

async function readText(path: string, readFile: (path: string) => Promise<string>): Promise<string> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw new MirrorError('CONFIG_INVALID', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

function manifestOptionsOf(options: PublishOptions): ManifestOptions {
  const { uuid, name, version, os, type, origin, description, homepage, private: isPrivate } = options
  return { uuid, name, version, os, type, origin, description, homepage, private: isPrivate }
}
