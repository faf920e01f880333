import { createHash, randomBytes } from 'node:crypto'
import { onTestFinished } from 'vitest'
import type { Manifest } from '../../../src/images/manifest.js'
import type { Uuid } from '../../../src/images/uuid.js'
import { Catalogue } from '../../../src/mirror/catalogue.js'
import { openStore } from '../../../src/store/open-store.js'
import type { Store } from '../../../src/store/store.js'
import { Counters } from '../../../src/telemetry/counters.js'
import { image, uuid } from '../../images/manifests.js'
import { FakeClock } from '../../support/fake-clock.js'
import { RecordingLog } from '../../support/recording-log.js'
import { temporaryDirectory } from '../../support/temporary.js'

export const KIB = 1024
const HOUR_MS = 3_600_000

export interface Made {
  readonly uuid: Uuid
  readonly manifest: Manifest
  readonly bytes: Buffer
  readonly sha256: string
}

/** A real store with images made up and kept in it, an hour apart, as the mirror keeps them. */
export async function makeKeepingRig() {
  const directory = await temporaryDirectory()
  // Leftovers carry the time of the disk.
  const clock = new FakeClock(new Date().toISOString())
  const log = new RecordingLog()
  const counters = new Counters()
  const open = async () => {
    const store = await openStore({ directory, log, now: () => clock.wallMs() })
    onTestFinished(() => store.close())
    const catalogue = new Catalogue({ precedence: [], withdrawn: 'list', log })
    for (const held of store.images.all()) catalogue.hold(held)
    return { store, catalogue }
  }
  let { store, catalogue } = await open()
  return {
    directory,
    clock,
    log,
    counters,
    get store(): Store {
      return store
    },
    get catalogue(): Catalogue {
      return catalogue
    },
    async reopen() {
      await store.close()
      ;({ store, catalogue } = await open())
    },
    async keep(
      number: number,
      { origin, bytes = randomBytes(100 * KIB) }: { origin?: Made; bytes?: Buffer } = {},
    ): Promise<Made> {
      await clock.advance(HOUR_MS)
      const digests = {
        sha1: createHash('sha1').update(bytes).digest('hex'),
        sha256: createHash('sha256').update(bytes).digest('hex'),
      }
      const manifest = image({
        uuid: uuid(number),
        name: `image-${number}`,
        files: [{ sha1: digests.sha1, size: bytes.length, compression: 'none' }],
        ...(origin && { origin: origin.uuid }),
      })
      const partial = await store.blobs.receive({ sizeBytes: bytes.length, digests: manifest.files[0]!.digests })
      if (partial.receivedBytes === 0) await partial.append(bytes)
      await partial.verify()
      await partial.keep()
      await partial.close()
      const held = {
        manifest,
        files: [{ sha256: digests.sha256, extents: [], corrections: [] }],
        heldSinceMs: clock.wallMs(),
        upstream: 'east',
      }
      await store.images.keep(held)
      catalogue.hold(held)
      return { uuid: manifest.uuid, manifest, bytes, sha256: digests.sha256 }
    },
    async use({ sha256 }: Made): Promise<void> {
      await clock.advance(HOUR_MS)
      await (await store.blobs.open(sha256))?.close()
    },
    isHere: ({ sha256 }: Made) => store.blobs.find({ algorithm: 'sha256', hex: sha256 }) !== undefined,
  }
}
