import { z } from 'zod'
import type { Lacking } from '../../../bundle/bundles.js'
import type { AwaitedView, Explanation } from '../../../mirror/operations/explanation.js'
import { defineEndpoint } from './define-endpoint.js'
import { cameBy } from './image-shapes.js'

/** Those of Docker layers are of no version that an RFC knows. */
const uuid = z.guid() as unknown as z.ZodType<Explanation['others'][number]['uuid']>
const text = z.string().nullable()
const ms = z.number().nullable()
const imageName = z.strictObject({ uuid, name: z.string(), version: z.string() })

const reason = z.strictObject({
  code: z.enum([
    'unknown',
    'withdrawn',
    'left out',
    'withheld',
    'origin withheld',
    'ancestry broken',
    'not active',
    'not listed upstream',
    'no channel',
    'hidden',
    'incomplete offline',
    'private',
    'file lost',
    'refused',
  ]),
  text: z.string(),
})

const upstream = z.strictObject({
  name: z.string(),
  url: text,
  says: z.enum([
    'has it',
    'has it unlisted',
    'withdrew it',
    'left out',
    'set aside',
    'has none',
    'unknown',
    'not asked',
  ]),
  why: text,
  firstHeardMs: ms,
  lastHeardMs: ms,
  withdrawnMs: ms,
  differences: z.array(z.string()),
  error: text,
})

const file = z.strictObject({
  index: z.number(),
  sizeBytes: z.number(),
  sha256: z.string(),
  sha1: text,
  keptMs: ms,
  lastReadMs: ms,
  checkedMs: ms,
  sources: z.array(z.strictObject({ upstream: z.string(), bytes: z.number() })),
  corrections: z.array(
    z.strictObject({
      startBytes: z.number(),
      endBytes: z.number(),
      wrongFrom: z.array(z.string()),
      rightFrom: z.string(),
      atMs: z.number(),
    }),
  ),
})

const image = z.strictObject({
  uuid,
  name: text,
  version: text,
  type: text,
  os: text,
  state: text,
  isPublic: z.boolean().nullable(),
  publishedMs: ms,
  isListed: z.boolean(),
  isServed: z.boolean(),
  reasons: z.array(reason),
  upstreams: z.array(upstream),
  stands: text,
  policy: z.strictObject({ policy: z.string(), from: z.string(), isWithheld: z.boolean(), why: text }).nullable(),
  channels: z.array(z.string()).nullable(),
  held: z.strictObject({ sinceMs: z.number(), publishedBy: text, files: z.array(file) }).nullable(),
  flights: z.array(z.strictObject({ fileIndex: z.number(), sizeBytes: z.number(), receivedBytes: z.number() })),
  pins: z.array(z.strictObject({ by: z.string(), pin: z.string(), through: imageName.nullable() })),
  wantedBy: z.array(
    z.strictObject({
      policy: z.string(),
      outcome: z.enum(['held', 'comes', 'late', 'never', 'no room', 'not to be had']),
      through: imageName.nullable(),
      doneMs: ms,
      nextOpeningMs: ms,
    }),
  ),
  eviction: z
    .strictObject({
      mayLeave: z.boolean(),
      why: z.string(),
      before: z.strictObject({ count: z.number(), bytes: z.number(), last: uuid.nullable() }).nullable(),
      quotaBytes: z.number().nullable(),
      usedBytes: z.number(),
    })
    .nullable(),
  ancestry: z.array(
    z.strictObject({ uuid, name: text, version: text, is: z.enum(['held', 'not held', 'withheld', 'unknown']) }),
  ),
  brokenAncestry: text,
  cameBy,
  awaited: z.array(
    z.strictObject({
      bundle: z.string(),
      site: z.string(),
      missingBytes: z.number(),
      missingOrigins: z.array(z.string()),
      volumesMissing: z.array(z.number()),
      volumes: z.number(),
    }),
  ),
  ledger: z.array(
    z.strictObject({ seq: z.number(), atMs: z.number(), kind: z.string(), facts: z.record(z.string(), z.unknown()) }),
  ),
  offlineLacks: z.array(uuid),
})

const explanation = z
  .strictObject({
    asked: z.string(),
    image: image.nullable(),
    others: z.array(imageName),
    otherCount: z.number(),
    words: z.array(z.string()).meta({ description: 'The same in plain words.' }),
  })
  .meta({ id: 'Explanation' }) satisfies z.ZodType<Explanation>

function awaitedOf(uuid: string, lacking: readonly Lacking[]): AwaitedView[] {
  return lacking.flatMap(({ bundle, from: { site }, images, volumes, volumesMissing }) => {
    const image = images.find((each) => each.uuid === uuid)
    if (!image) return []
    const { missingBytes, missingOrigins } = image
    return [{ bundle, site, missingBytes, missingOrigins, volumesMissing, volumes }]
  })
}

export const explain = defineEndpoint({
  method: 'GET',
  path: '/api/explain/:what',
  summary: 'Why an image is answered as it is; by uuid, name, name@version, or the repository:tag of a Docker image.',
  answer: explanation,
  handle: ({ imports, operations, params, signal }) =>
    operations.explain(params.what, signal, (uuid) => awaitedOf(uuid, imports.lacking())),
})
