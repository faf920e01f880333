import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { onTestFinished } from 'vitest'
import { MAX_ANCESTRY } from '../../../src/images/ancestry.js'
import type { Manifest } from '../../../src/images/manifest.js'
import { parseListQuery } from '../../../src/images/parse-list-query.js'
import type { Uuid } from '../../../src/images/uuid.js'
import { NOBODY } from '../../../src/images/viewer.js'
import type { ChangeOptions, FileUpload } from '../../../src/mirror/publishing.js'
import { type MirrorOptions, PullThroughMirror } from '../../../src/mirror/pull-through-mirror.js'
import type { FileSystem } from '../../../src/store/file-system.js'
import { openStore } from '../../../src/store/open-store.js'
import { Counters } from '../../../src/telemetry/counters.js'
import { RecordingLog } from '../../support/recording-log.js'
import { temporaryDirectory } from '../../support/temporary.js'

export const by: ChangeOptions = { author: { user: 'builder', client: '127.0.0.1', requestId: 'r1' } }

/** What imgadm publish sends of an image. */
export function manifestOf(uuid: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { v: 2, uuid, name: 'ours', version: '1', type: 'zone-dataset', os: 'smartos', ...more }
}

/** A mirror over a store of its own, without upstreams unless told otherwise. */
export async function makePublishingRig(
  given: Partial<MirrorOptions> & { readonly directory?: string; readonly fileSystem?: FileSystem } = {},
) {
  const { directory = await temporaryDirectory(), fileSystem, ...more } = given
  const log = new RecordingLog()
  const open = async () => {
    const store = await openStore({ directory, log, isForManyStarts: true, ...(fileSystem && { fileSystem }) })
    const mirror = await PullThroughMirror.start({
      store,
      upstreams: [],
      connections: new Map(),
      precedence: [],
      isOffline: false,
      withdrawn: 'list',
      refreshMs: 60_000,
      holdbackBytes: 1024,
      firstAnswerWaitMs: 0,
      missTtlMs: 0,
      patienceMs: 1000,
      maxAncestry: MAX_ANCESTRY,
      maxLayerBytes: 2 ** 30,
      keeping: { quotaBytes: async () => undefined, pins: [], scrub: undefined, verifyOnRead: 'always' },
      publishing: { mode: 'public', sources: undefined },
      counters: new Counters(),
      log,
      ...more,
    })
    let closing: Promise<void> | undefined
    const close = () => {
      closing ??= mirror.close().then(() => store.close())
      return closing
    }
    onTestFinished(close)
    return { store, mirror, close }
  }
  let opened = await open()
  const never = new AbortController().signal
  return {
    directory,
    log,
    get store() {
      return opened.store
    },
    get mirror() {
      return opened.mirror
    },
    close: () => opened.close(),
    get publishing() {
      return opened.mirror.publishing
    },
    /** As after a restart. */
    async reopen() {
      await opened.close()
      opened = await open()
    },
    upload(bytes: Buffer | Readable, upload: Partial<FileUpload> = {}): FileUpload {
      const body = bytes instanceof Readable ? bytes : Readable.from(piecesOf(bytes), { objectMode: false })
      const sizeBytes = bytes instanceof Readable ? undefined : bytes.length
      return {
        body,
        sizeBytes,
        compression: 'none',
        sha1: undefined,
        datasetGuid: undefined,
        signal: never,
        ...upload,
      }
    },
    /** Imports, fills and activates. */
    async publish(uuid: Uuid, bytes: Buffer, more: Record<string, unknown> = {}): Promise<Manifest> {
      const { publishing } = opened.mirror
      await publishing.import(uuid, manifestOf(uuid, more), by)
      await publishing.addFile(uuid, this.upload(bytes), by)
      return await publishing.activate(uuid, by)
    },
    get: (uuid: Uuid) => opened.mirror.getImage(uuid, never),
    async read(uuid: Uuid): Promise<Buffer> {
      const offer = await opened.mirror.findFile(uuid, 0, never)
      const file = await offer.open(never)
      try {
        const pieces: Uint8Array[] = []
        for await (const piece of file.stream(0, offer.sizeBytes)) pieces.push(piece)
        return Buffer.concat(pieces)
      } finally {
        await file.close()
      }
    },
    listed: async () =>
      (await opened.mirror.listImages(parseListQuery(new URLSearchParams(), NOBODY))).manifests.map(({ uuid }) => uuid),
    /** What is under way or left of it on the disk. */
    partials: () => readdir(join(directory, 'partial')),
    blobs: () => [...opened.store.blobs.all()].map(({ sha256 }) => sha256),
  }
}

export type PublishingRig = Awaited<ReturnType<typeof makePublishingRig>>

function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += 65_536) yield bytes.subarray(start, start + 65_536)
}
