import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.js'
import { ANSWERS } from '../../../src/http/answers.js'
import type { Compression, Manifest } from '../../../src/images/manifest.js'
import { etagOf } from '../../../src/images/serialize-manifest.js'
import type { Uuid } from '../../../src/images/uuid.js'
import type { ChangeOptions } from '../../../src/mirror/publishing.js'
import type { IconType } from '../../../src/store/image-store.js'
import { vectors } from '../../support/vectors.js'
import { by, makePublishingRig, type PublishingRig } from './publishing-rig.js'

interface Step {
  readonly server: string
  readonly request: string
  readonly requestHeaders?: Record<string, string>
  readonly requestBody?: unknown
  readonly status: number | null
  readonly responseHeaders?: { readonly etag?: string }
  readonly body?: Record<string, unknown>
  readonly note?: string
}

const { steps } = vectors<{ steps: Step[] }>('imgapiWrites')

/** Transcripts of sdc-imgapi that we do not repeat, on purpose; docs/imgapi.md says why. Those that follow build on that. */
const INTENDED: Record<number, string> = {
  19: 'v: null is refused: nobody could install the image',
  20: 'so it does not exist either',
  21: 'a v1 manifest is upgraded before its owner is set',
  24: 'icon is dropped, its bytes being elsewhere',
}

/** The endpoint's own business: paths, query parameters, bodies that are no JSON. */
const OF_THE_ENDPOINT = new Set([
  10, 11, 14, 27, 28, 29, 30, 31, 32, 33, 34, 36, 37, 39, 47, 48, 49, 58, 59, 60, 83, 86, 87, 95,
])

async function perform(rig: PublishingRig, { request, requestBody }: Step): Promise<Manifest | undefined> {
  const [method, target] = request.split(' ') as [string, string]
  const { pathname, searchParams: query } = new URL(target, 'http://mirror')
  const [, , uuid, part] = pathname.split('/') as [string, string, Uuid, string | undefined]
  const { publishing } = rig
  const options: ChangeOptions = { ...by, ...(query.has('account') && { account: query.get('account') as Uuid }) }
  const bytes = Buffer.from(typeof requestBody === 'string' ? requestBody : '')
  const action = query.get('action') ?? undefined
  if (method === 'GET') return part ? undefined : await rig.get(uuid)
  if (method === 'DELETE' && part) return await publishing.deleteIcon(uuid, options)
  if (method === 'DELETE') return void (await publishing.delete(uuid, { ...options, forceAllChannels: false }))
  if (part === 'file') {
    const compression = query.get('compression') as Compression
    const given = { sha1: query.get('sha1') ?? undefined, datasetGuid: query.get('dataset_guid') ?? undefined }
    return await publishing.addFile(uuid, rig.upload(bytes, { compression, ...given }), options)
  }
  if (part === 'icon') {
    const contentType: IconType = 'image/gif'
    return await publishing.setIcon(uuid, { bytes, contentType, sha1: undefined }, options)
  }
  if (part === 'acl' && action === 'remove') return await publishing.removeAcl(uuid, requestBody, options)
  if (part === 'acl') return await publishing.addAcl(uuid, requestBody, options)
  if (!uuid) return await publishing.create(requestBody, options)
  if (action === 'import') return await publishing.import(uuid, requestBody, options)
  if (action === 'activate') return await publishing.activate(uuid, options)
  if (action === 'enable') return await publishing.enable(uuid, options)
  if (action === 'disable') return await publishing.disable(uuid, options)
  if (action === 'update') return await publishing.update(uuid, requestBody, options)
  throw new Error(`not performed: ${request}`)
}

describe('what sdc-imgapi did when images were written', () => {
  it('is what we do, in the same order', async () => {
    const rig = await makePublishingRig()
    const differences: string[] = []
    for (const [index, step] of steps.entries()) {
      if (!step.server.startsWith('public') || OF_THE_ENDPOINT.has(index) || index in INTENDED) continue
      if (step.request === 'GET /images' || step.requestHeaders?.['If-Match']) continue
      // What the endpoint steps in between would have left: an incremental image.
      if (index === 35) await rig.publishing.import(...incremental())
      let got: { status: number; body: unknown; etag?: string }
      try {
        const manifest = await perform(rig, step)
        got = manifest
          ? { status: 200, body: JSON.parse(manifest.json), etag: etagOf(manifest) }
          : { status: step.request.startsWith('DELETE') ? 204 : 200, body: undefined }
      } catch (error) {
        if (!(error instanceof MirrorError)) throw error
        const { status, code } = ANSWERS[error.code]
        const hasErrors = ['ValidationFailed', 'InvalidParameter'].includes(code)
        got = { status, body: { code, message: error.message, ...(hasErrors && { errors: error.fields ?? [] }) } }
      }
      const isCreated = step.request.startsWith('POST /images') && !step.request.startsWith('POST /images/')
      const expected = { status: step.status, body: step.body, etag: step.responseHeaders?.etag }
      if (isCreated && got.status === 200) {
        expected.body = { ...expected.body, uuid: (got.body as { uuid: string }).uuid }
        expected.etag = createHash('sha1').update(JSON.stringify(expected.body)).digest('hex')
      }
      if (step.request.includes('/icon') && step.request.startsWith('GET')) continue
      const isSame = JSON.stringify(got) === JSON.stringify({ ...expected })
      if (!isSame) {
        differences.push(
          `${index} ${step.request}\n  sdc-imgapi ${JSON.stringify(expected)}\n  ours       ${JSON.stringify(got)}`,
        )
      }
    }
    expect(differences.join('\n')).toBe('')
  })
})

function incremental(): [Uuid, Record<string, unknown>, ChangeOptions] {
  const manifest = {
    ...(steps[17]!.requestBody as Record<string, unknown>),
    uuid: 'bbbbbbbb-0000-4000-8000-000000000006',
    origin: 'bbbbbbbb-0000-4000-8000-000000000001',
  }
  return ['bbbbbbbb-0000-4000-8000-000000000006' as Uuid, manifest, by]
}
