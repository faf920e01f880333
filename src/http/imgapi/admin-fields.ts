import { createHash } from 'node:crypto'

/** A manifest's compact JSON with where its files are stored: the reference has Manta too, we have one place. */
export function withAdminFields(json: string): string {
  const manifest = JSON.parse(json) as { files?: object[] }
  const files = manifest.files?.map((file) => ({ ...file, stor: 'local' }))
  return JSON.stringify({ ...manifest, ...(files && { files }) })
}

/** As `etagOf` a manifest, of its JSON as it is sent. */
export function etagOfJson(json: string): string {
  return createHash('sha1').update(json).digest('hex')
}
