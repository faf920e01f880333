import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { etagOf } from '../../src/images/serialize-manifest.js'
import type { JsonObject } from '../../src/parts/json-object.js'
import { vectors } from '../support/vectors.js'
import { image, parsed, served, uuid, v2 } from './manifests.js'

interface EtagVector {
  readonly compactJson: string
  readonly etag: string
}

interface RequestVector {
  readonly request: string
  readonly auth?: boolean
  readonly status: number | null
  readonly headers?: { readonly etag?: string }
  readonly body?: JsonObject
}

describe('what is served of a manifest', () => {
  it.each(vectors<EtagVector[]>('etag'))(
    'is the text and has the Etag of the reference: $etag',
    ({ compactJson, etag }) => {
      const { manifest } = parsed(JSON.parse(compactJson)).statement
      expect(manifest.json).toBe(compactJson)
      expect(etagOf(manifest)).toBe(etag)
    },
  )

  const manifests = vectors<RequestVector[]>('imgapiRequests').filter(
    ({ body, headers, request }) => body?.uuid && headers?.etag && !request.includes('inclAdminFields'),
  )
  it.each(manifests)('has the Etag that the reference gave to $request', ({ body, headers }) => {
    expect(etagOf(parsed(body).statement.manifest)).toBe(headers?.etag)
  })

  it('has IMGAPIs order of keys, whatever the order was', () => {
    const manifest = v2({
      traits: { a: true },
      billing_tags: ['xxl'],
      tags: {},
      image_size: 1,
      cpu_type: 'host',
      disk_driver: 'virtio',
      nic_driver: 'virtio',
      origin: uuid(2),
      generate_passwords: true,
      users: [],
      requirements: {},
      urn: 'a:b:c:d',
      icon: true,
      eula: 'http://a/',
      homepage: 'http://a/',
      description: 'd',
      acl: [uuid(3)],
      type: 'zvol',
    })
    const reversed = Object.fromEntries(Object.entries(manifest).reverse())
    expect(Object.keys(served(reversed)).join(' ')).toBe(
      'v uuid owner name version state disabled public published_at type os files acl description homepage eula icon ' +
        'urn requirements users generate_passwords origin nic_driver disk_driver cpu_type image_size tags billing_tags traits',
    )
  })

  it('leaves out an icon that is not there and an acl without entries', () => {
    expect(served(v2({ icon: false, acl: [] }))).toEqual(v2())
  })

  it('keeps generate_passwords false, which absent would mean true', () => {
    expect(served(v2({ generate_passwords: false })).generate_passwords).toBe(false)
  })

  it('is hashed as UTF-8', () => {
    const manifest = image({ description: 'é' })
    expect(etagOf(manifest)).toBe(createHash('sha1').update(Buffer.from(manifest.json, 'utf8')).digest('hex'))
  })
})
