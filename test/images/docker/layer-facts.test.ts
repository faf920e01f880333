import { describe, expect, it } from 'vitest'
import { withLayerFacts } from '../../../src/images/docker/layer-facts.js'
import { parseManifest } from '../../../src/images/parse-manifest.js'
import { etagOf } from '../../../src/images/serialize-manifest.js'
import { dockerImages, layerBytes } from '../../support/made-up-layers.js'
import { image, MD5, SHA1, SHA256 } from '../manifests.js'

const facts = { sizeBytes: 12, sha256: SHA256, sha1: SHA1, compression: 'xz' } as const

describe('withLayerFacts', () => {
  it('shows size, sha1 and compression in the order of IMGAPI, and nothing else differs', () => {
    const [{ manifest }] = dockerImages([layerBytes()]) as [ReturnType<typeof dockerImages>[number]]
    const known = withLayerFacts(manifest, facts)
    expect(known.json).toBe(
      manifest.json.replace(/"files":\[[^\]]*\]/, `"files":[{"sha1":"${SHA1}","size":12,"compression":"xz"}]`),
    )
    expect(etagOf(known)).not.toBe(etagOf(manifest))
    expect(known).toEqual({
      ...manifest,
      json: known.json,
      files: [
        {
          sizeBytes: 12,
          compression: 'xz',
          digests: [
            { algorithm: 'sha256', hex: SHA256 },
            { algorithm: 'sha1', hex: SHA1 },
          ],
        },
      ],
    })
    const parsed = parseManifest(JSON.parse(known.json))
    expect(parsed.ok && parsed.statement.manifest.json).toBe(known.json)
  })

  it('keeps what else was claimed: the digests IMGAPI does not show, and a guid', () => {
    const manifest = image({
      files: [{ md5: MD5, sha256: SHA256, size: 12, compression: 'gzip', dataset_guid: '123' }],
    })
    const known = withLayerFacts(manifest, facts)
    expect(known.files[0]!.digests.map(({ algorithm }) => algorithm)).toEqual(['sha256', 'sha1', 'md5'])
    expect(JSON.parse(known.json).files[0].dataset_guid).toBe('123')
  })

  it('is the same object when all is said already', () => {
    const manifest = image({ files: [{ sha1: SHA1, sha256: SHA256, size: 12, compression: 'xz' }] })
    expect(withLayerFacts(manifest, facts)).toBe(manifest)
    const withoutFile = image({ state: 'unactivated', files: [] })
    expect(withLayerFacts(withoutFile, facts)).toBe(withoutFile)
  })
})
