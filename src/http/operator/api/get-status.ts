import { z } from 'zod'
import { describeStatus } from '../status.js'
import { defineEndpoint } from './define-endpoint.js'
import { prewarmStatus } from './prewarm-shapes.js'

const time = z.string().nullable().meta({ description: 'ISO 8601.' })
const text = z.string().nullable()

const pullLimit = z
  .strictObject({ limit: z.number().nullable(), remaining: z.number(), untilAt: time })
  .meta({ description: 'How many manifests a registry still lets us have, as it told last.' })

const upstream = z
  .strictObject({
    name: z.string(),
    url: z.string(),
    state: z.enum(['waiting', 'reachable', 'failing']),
    images: z.number().meta({ description: 'It lists so many that were admitted.' }),
    setAside: z.array(z.strictObject({ what: z.string(), reason: z.string() })),
    incomplete: text.meta({ description: 'Why its list could not be read to the end.' }),
    lastError: text,
    lastHeardAt: time,
    nextRefreshAt: time,
    health: z
      .strictObject({
        breaker: z.enum(['closed', 'open', 'half-open']),
        failures: z.number(),
        nextProbeAt: time,
        quietUntilAt: time,
        canResume: z.boolean().nullable(),
        rate: z.strictObject({
          limit: z.union([z.number(), z.enum(['unlimited', 'closed'])]).meta({ description: 'In bytes per second.' }),
          untilAt: time,
        }),
        pullLimit: pullLimit.optional(),
      })
      .optional(),
  })
  .meta({ id: 'UpstreamStatus' })

const flight = z
  .strictObject({
    uuid: z.string(),
    fileIndex: z.number(),
    sizeBytes: z.number(),
    receivedBytes: z.number(),
    readers: z.number(),
    upstream: z.string().optional(),
  })
  .meta({ id: 'Flight', description: 'A file being fetched.' })

const conflict = z.strictObject({
  uuid: z.string(),
  winner: z.string(),
  loser: z.string(),
  differences: z.array(z.string()),
  firstSeenAt: time,
})

const keeping = z.strictObject({
  room: z.strictObject({
    quotaBytes: z.number().nullable(),
    usedBytes: z.number(),
    pinnedBytes: z.number(),
    evictableBytes: z.number(),
    evictedBytes: z.number(),
    freeBytes: z
      .number()
      .nullable()
      .meta({ description: 'What the disk has for more files; null where it does not say.' }),
    turnedAway: z
      .strictObject({ at: time, neededBytes: z.number(), freeBytes: z.number() })
      .nullable()
      .meta({ description: 'The last file that there was no room for, while none so large has found any since.' }),
  }),
  scrub: z
    .strictObject({
      everyMs: z.number(),
      bytesPerSecond: z.number(),
      oldestCheckAt: time,
      auditedAt: time,
      current: z.strictObject({ sha256: z.string(), chunk: z.number(), chunks: z.number() }).nullable(),
      blobsRead: z.number(),
      damageFound: z.number(),
      isTooSlow: z.boolean(),
    })
    .nullable(),
  lost: z.array(z.strictObject({ uuid: z.string(), fileIndex: z.number(), sha256: z.string() })),
  damagedRecords: z.array(z.strictObject({ uuid: z.string(), path: z.string() })),
})

const clientImport = z.strictObject({
  jobUuid: z.string(),
  uuid: z.string(),
  source: z.string(),
  state: z.enum(['running', 'done', 'failed']),
  images: z.array(z.string()),
  imported: z.number(),
  current: text,
  startedAt: time,
  endedAt: time,
  error: text,
})

const bundles = z
  .strictObject({
    isDiode: z.boolean(),
    awaited: z.number(),
    volumesMissing: z.number(),
    imagesMissing: z.number(),
    missingBytes: z.number(),
    neverCame: z.number().meta({ description: 'Bundles of series that never came.' }),
  })
  .meta({ description: 'What is awaited of bundles, in numbers.' })

export const getStatus = defineEndpoint({
  method: 'GET',
  path: '/api/status',
  summary: 'What is held, what is under way, and what is wrong; the same as /status.',
  answer: z
    .strictObject({
      isOffline: z.boolean(),
      imagesListed: z.number(),
      imagesHeld: z.number(),
      imagesWithheld: z.number().optional(),
      blobsKept: z.number(),
      bytesKept: z.number(),
      upstreams: z.array(upstream),
      flights: z.array(flight),
      conflicts: z.array(conflict),
      keeping,
      ledgerDamaged: z.number().optional().meta({
        description:
          'Entries of the newest segment of the ledger that were found damaged at start; audit/verify reads all of it.',
      }),
      recompression: z
        .strictObject({
          waiting: z.number(),
          refused: z.array(z.strictObject({ uuid: z.string(), reason: z.string() })),
        })
        .optional(),
      prewarming: z.array(prewarmStatus),
      bundles: bundles.optional(),
      imports: z.array(clientImport).meta({ description: 'Wanted by clients of IMGAPI; newest first.' }),
    })
    .meta({ id: 'Status' }),
  handle: async ({ imports, operations }) => {
    await operations.lookAtDisk()
    return describeStatus(operations.status(), imports.status())
  },
})
