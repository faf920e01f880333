import { ArrivedBundles } from '../bundle/arrived-bundles.js'
import { Importer, type ImporterOptions } from '../bundle/importer.js'
import { Intake } from '../bundle/intake.js'
import type { Carrying } from '../mirror/carrying.js'
import { diskMedia } from '../store/disk-media.js'

/** Brings back which bundles are awaited, keeps what is needed of them from leaving, and holds what a crash has left whole. */
export async function openImports(
  mirror: Carrying,
  configured: Pick<ImporterOptions, 'terms' | 'isDiode'>,
): Promise<Importer> {
  const { log, room, store } = mirror
  const intake = new Intake(mirror)
  const arrived = new ArrivedBundles({ ...store, store: store.arrivals, intake, log })
  await arrived.start()
  room.await(() => arrived.needed())
  const importer = new Importer({ mirror, intake, arrived, media: diskMedia, ...configured })
  await importer.resume()
  return importer
}
