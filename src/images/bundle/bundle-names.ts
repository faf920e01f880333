import { createHash } from 'node:crypto'
import type { Icon } from './bundle-index.js'
import type { VolumeFile } from './volume-index.js'

/** Bounds of pieces are multiples of this, or the file's end. */
export const PIECE_ALIGNMENT_BYTES = 1024 * 1024

/** What an icon may be called, by its type. */
const ICON_SUFFIXES = { 'image/jpeg': 'jpg', 'image/gif': 'gif', 'image/png': 'png' } as const satisfies Record<
  Icon['type'],
  string
>

const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
const NUMBER = '(?:0|[1-9]\\d{0,15})'
/**
 * Every file that a volume may list, and so every path that is ever made of what stands in one. No two that are different here
 * are one file on a medium that folds case or composes characters, none leads anywhere, and none is reserved.
 */
const VOLUME_PATH = new RegExp(
  `^(?:README\\.txt|provenance\\.jsonl|manifests/${UUID}\\.json|icons/${UUID}\\.(?:jpg|gif|png)|` +
    `docker/([0-9a-f]{64})|files/([0-9a-f]{64})(?:\\.(${NUMBER})-(${NUMBER}))?)$`,
)

/** The bundle's id: SHA-256 of `bundle.json`, 64 digits. */
export function bundleId(bundleJson: Buffer): string {
  return createHash('sha256').update(bundleJson).digest('hex')
}

/** `imgapi-a1b2c3d4e5f6-v01of03`; without `-v...` of a bundle that has one volume. */
export function volumeDirectory(id: string, volume: number, volumes: number): string {
  const name = `imgapi-${id.slice(0, 12)}`
  if (volumes === 1) return name
  const digits = Math.max(2, String(volumes).length)
  return `${name}-v${String(volume).padStart(digits, '0')}of${String(volumes).padStart(digits, '0')}`
}

/** Where bytes [startBytes, endBytes) of a file of `sizeBytes` lie on their volume. */
export function pieceName(sha256: string, startBytes: number, endBytes: number, sizeBytes: number): string {
  const isWhole = startBytes === 0 && endBytes === sizeBytes
  return isWhole ? `files/${sha256}` : `files/${sha256}.${startBytes}-${endBytes}`
}

export function manifestName(uuid: string): string {
  return `manifests/${uuid}.json`
}

export function iconName(uuid: string, type: Icon['type']): string {
  return `icons/${uuid}.${ICON_SUFFIXES[type]}`
}

export function dockerObjectName(sha256: string): string {
  return `docker/${sha256}`
}

/** What is wrong with a file that a volume lists, or `undefined`: its path says what it must be. */
export function volumeFileProblem({ path, sizeBytes, sha256 }: VolumeFile): string | undefined {
  const [found, object, file, start, end] = VOLUME_PATH.exec(path) ?? []
  if (found === undefined) return 'is no path that a volume has'
  const named = object ?? (start === undefined ? file : undefined)
  if (named !== undefined && named !== sha256) return `is named otherwise than its SHA-256, ${sha256}`
  if (start !== undefined && Number(end) - Number(start) !== sizeBytes) {
    return `is named as a piece of another size than its ${sizeBytes} bytes`
  }
  return undefined
}
