import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { INTENDED } from '../../support/intended-differences.js'
import { PUBLISHING, tell } from '../../support/publishing-mirror.js'
import { openMirror, type RunningMirror } from '../../support/running-mirror.js'
import { vectors } from '../../support/vectors.js'

interface Step {
  readonly server: string
  readonly request: string
  readonly requestHeaders?: Record<string, string>
  readonly requestBody?: unknown
  readonly status: number | null
  readonly responseHeaders?: { readonly etag?: string }
  readonly body?: unknown
  readonly bodyText?: string
}

/** Bodies of which the transcript kept the number of their keys only. */
const BODIES: Record<number, Record<string, unknown>> = {
  27: { origin: 'bbbbbbbb-0000-4000-8000-000000000077' },
  28: { origin: 'bbbbbbbb-0000-4000-8000-000000000001' },
  31: { type: 'lx-dataset', os: 'linux', requirements: { min_platform: { '7.0': '20200101T000000Z' } } },
  32: { type: 'lx-dataset', os: 'linux', requirements: { min_platform: { '7.0': '20200101T000000Z' } } },
}

/**
 * Where we answer otherwise than sdc-imgapi 4.13.1 on purpose: by number in the vectors, as which row of docs/imgapi.md,
 * and what we answer. What should not have been done, as the transcript goes on, is undone.
 */
const DIFFERENCES: Record<number, { as: string; status?: number; body?: unknown; undo?: string }> = {
  10: { as: 'json-words', body: expect.stringContaining('"code": "InvalidContent",\n  "message": "Invalid JSON: ') },
  11: { as: 'create-action', status: 422, body: refusal('InvalidParameter', '"nope" is not a valid action', 'action') },
  19: { as: 'v-null', status: 422, body: expect.stringContaining('"message": "invalid image data: v"') },
  20: { as: 'v-null', status: 422, body: expect.stringContaining('"message": "invalid image data: v"') },
  21: {
    as: 'v1-upgraded',
    status: 200,
    body: expect.stringContaining('"published_at": "2011-04-11T08:45:00Z"'),
    undo: 'bbbbbbbb-0000-4000-8000-000000000004',
  },
  24: {
    as: 'icon-dropped',
    status: 200,
    body: expect.not.stringContaining('icon'),
    undo: 'bbbbbbbb-0000-4000-8000-000000000006',
  },
  // The source is none that configuration names.
  34: { as: 'no-workflow', status: 422, body: expect.stringContaining('is not one that this mirror may fetch from') },
}

const { steps } = vectors<{ steps: Step[] }>('imgapiWrites')

const servers = [
  ['public mode, no channels', {}],
  [
    'private mode, channels dev(default) staging release',
    {
      mode: 'private',
      channels: [
        { name: 'dev', description: 'dev', default: true },
        { name: 'staging', description: 'staging' },
        { name: 'release', description: 'release' },
      ],
    },
  ],
] as const

it('differs only as docs/imgapi.md says', () => {
  for (const { as } of Object.values(DIFFERENCES)) expect(INTENDED.has(as), as).toBe(true)
})

describe.each(servers)('a mirror in %s', (server, settings) => {
  const transcript = steps.map((step, number) => ({ ...step, number })).filter((step) => step.server === server)
  let data: string
  let mirror: RunningMirror
  /** The server chooses the uuid of an image it creates: the transcript's, and ours. */
  const created = new Map<string, string>()

  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), 'imgapi-mirror-writes-'))
    mirror = await openMirror({ upstreams: [], ...PUBLISHING, ...settings, data })
  })
  afterAll(async () => {
    await mirror.close()
    await rm(data, { recursive: true, force: true })
  })

  it.each(transcript)('$number: $request is answered as by sdc-imgapi', async ({ number, ...step }) => {
    const [method = '', path = ''] = step.request.split(' ')
    const got = await tell(mirror.url, method, path, bodyOf(number, step), step.requestHeaders)
    const difference = DIFFERENCES[number]
    if (difference?.undo) await tell(mirror.url, 'DELETE', `/images/${difference.undo}`)
    let expected = step.body
    if (method === 'POST' && path.startsWith('/images') && step.status === 200 && !path.startsWith('/images/')) {
      created.set((step.body as { uuid: string }).uuid, got.body.uuid as string)
      expected = { ...(step.body as object), uuid: got.body.uuid }
    }
    expect({ status: got.status, text: got.text }).toEqual({
      status: difference?.status ?? step.status,
      text: difference?.body ?? step.bodyText ?? (expected === undefined ? '' : JSON.stringify(expected, null, 2)),
    })
    if (difference) return
    // Lists have none there, and a weak one here.
    if (/^GET \/images($|\?)/.test(step.request)) return
    const etag = got.headers.get('etag')
    if (step.responseHeaders?.etag === undefined) expect(etag).toBeNull()
    else if (step.bodyText === undefined) expect(etag).toBe(`"${sha1(JSON.stringify(expected))}"`)
  })
})

function bodyOf(number: number, { request, requestBody }: Step): unknown {
  const more = BODIES[number]
  const uuid = /[0-9a-f-]{36}/.exec(request)?.[0]
  if (more) return { ...(steps[17]?.requestBody as object), uuid, ...more }
  if (typeof requestBody !== 'string') return requestBody
  const size = /^<(\d+) bytes>$/.exec(requestBody)?.[1]
  return size === undefined ? requestBody : Buffer.alloc(Number(size))
}

function refusal(code: string, message: string, field: string): string {
  return JSON.stringify({ code, message, errors: [{ field, code: 'Invalid' }] }, null, 2)
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex')
}
