import type { Context } from '../every-request.js'

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
const NONE = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] }))

/**
 * What refers to a manifest: signatures and the like. We follow none of these, and an empty list is how a registry says
 * so; a 404 would send clients to look for tags instead.
 */
export function getReferrers(context: Context): void {
  context.status = 200
  context.set({ 'Content-Type': OCI_INDEX, 'Cache-Control': 'no-cache' })
  context.body = NONE
}
