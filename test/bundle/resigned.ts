import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { bundleId } from '../../src/images/bundle/bundle-names.js'
import { signer } from './volumes.js'

// biome-ignore lint/suspicious/noExplicitAny: hostile JSON may be anything
type Change = (json: any) => void

/** Changes what the two indexes of a volume say, or their texts; and signs them again, with a key that is trusted. */
export async function resign(directory: string, changes: { bundle?: Change; volume?: Change; bundleText?: string }) {
  const bundle = JSON.parse(await readFile(join(directory, 'bundle.json'), 'utf8'))
  const volume = JSON.parse(await readFile(join(directory, 'volume.json'), 'utf8'))
  changes.bundle?.(bundle)
  const bundleJson = Buffer.from(changes.bundleText ?? JSON.stringify(bundle))
  volume.bundle = bundleId(bundleJson)
  changes.volume?.(volume)
  const volumeJson = Buffer.from(JSON.stringify(volume))
  for (const [name, bytes] of [
    ['bundle.json', bundleJson],
    ['volume.json', volumeJson],
  ] as const) {
    for (const place of [directory, join(directory, 'copies')]) {
      await writeFile(join(place, name), bytes)
      await writeFile(join(place, `${name}.minisig`), signer.sign(bytes, 'a lie'))
    }
  }
}
