import { z } from 'zod'
import type {
  AncestryAnswer,
  ImageDetails,
  ImageRow,
  PinFacts,
  RefreshAnswer,
  RemovalAnswer,
  UpstreamCheck,
  VacuumAnswer,
} from '../../../mirror/operations/image-answers.js'

/** As it is once it is JSON: a uuid is a text. */
export type Wire<Value> = Value extends string
  ? string
  : Value extends readonly (infer Item)[]
    ? Wire<Item>[]
    : Value extends object
      ? { [Key in keyof Value]: Wire<Value[Key]> }
      : Value

const ms = z.number().meta({ description: 'Milliseconds since 1970.' })

export const imageRow = z
  .strictObject({
    uuid: z.string(),
    name: z.string(),
    version: z.string(),
    os: z.string(),
    type: z.string(),
    state: z.string(),
    isPublic: z.boolean(),
    publishedMs: ms.nullable(),
    origin: z.string().nullable(),
    sizeBytes: z.number(),
    isHeld: z.boolean(),
    isPinned: z.boolean(),
    upstream: z.string().meta({ description: 'Whose manifest we serve.' }),
    heldSinceMs: ms.nullable(),
    lastReadMs: ms.nullable(),
  })
  .meta({ id: 'ImageRow' }) satisfies z.ZodType<Wire<ImageRow>>

export const pinFacts = z
  .strictObject({
    by: z.string().meta({ description: '`configuration` for pins of the configuration.' }),
    reason: z.string().nullable(),
    sinceMs: ms.nullable(),
  })
  .meta({ id: 'Pin' }) satisfies z.ZodType<Wire<PinFacts>>

const claim = z
  .strictObject({
    upstream: z.string(),
    isListed: z.boolean(),
    firstHeardMs: ms,
    lastHeardMs: ms,
    withdrawnMs: ms.nullable(),
    sha1: z.string().nullable(),
    sizeBytes: z.number().nullable(),
  })
  .meta({ id: 'Claim' })

const conflict = z
  .strictObject({
    winner: z.string(),
    loser: z.string(),
    differences: z.array(z.string()),
    firstSeenMs: ms,
  })
  .meta({ id: 'Conflict' })

const heldFile = z
  .strictObject({
    index: z.number(),
    sizeBytes: z.number(),
    sha256: z.string(),
    sha1: z.string(),
    md5: z.string(),
    keptMs: ms,
    checkedMs: ms.nullable().meta({ description: 'When it was last read from end to end since it came.' }),
    extents: z
      .array(z.strictObject({ startBytes: z.number(), endBytes: z.number(), upstream: z.string() }))
      .meta({ description: 'Which bytes came from whom.' }),
  })
  .meta({ id: 'HeldFile' })

/** By which bundle an image came. */
export const cameBy = z
  .strictObject({
    bundle: z.string(),
    site: z.string(),
    signedBy: z.strictObject({ key: z.string(), isTrusted: z.boolean() }).nullable(),
    atMs: z.number(),
  })
  .nullable()

export const imageDetails = z
  .strictObject({
    ...imageRow.shape,
    manifest: z.record(z.string(), z.unknown()),
    claims: z.array(claim),
    conflicts: z.array(conflict),
    pins: z.array(pinFacts),
    cameBy,
    files: z.array(heldFile),
  })
  .meta({ id: 'ImageDetails' }) satisfies z.ZodType<Wire<ImageDetails>>

export const ancestryAnswer = z.strictObject({
  images: z.array(imageRow).meta({ description: 'Itself first, the base last.' }),
  missing: z.string().nullable(),
  broken: z.string().nullable(),
  bytesToPull: z.number(),
}) satisfies z.ZodType<Wire<AncestryAnswer>>

export const removalAnswer = z.strictObject({
  uuid: z.string(),
  freedBytes: z.number(),
}) satisfies z.ZodType<Wire<RemovalAnswer>>

export const vacuumAnswer = z.strictObject({
  dryRun: z.boolean(),
  images: z.array(
    z.strictObject({
      uuid: z.string(),
      name: z.string(),
      version: z.string(),
      freedBytes: z.number(),
      lastReadMs: ms.nullable(),
    }),
  ),
  others: z.array(z.strictObject({ what: z.string(), freedBytes: z.number() })),
  freedBytes: z.number(),
  wantedBytes: z.number(),
}) satisfies z.ZodType<Wire<VacuumAnswer>>

export const refreshAnswer = z.strictObject({
  upstreams: z.array(
    z.strictObject({
      name: z.string(),
      ok: z.boolean(),
      error: z.string().nullable(),
      images: z.number(),
      added: z.number(),
      changed: z.number(),
      withdrawn: z.number(),
      tookMs: z.number(),
    }),
  ),
}) satisfies z.ZodType<Wire<RefreshAnswer>>

export const upstreamCheck = z
  .strictObject({
    name: z.string(),
    url: z.string(),
    ok: z.boolean(),
    protocol: z.string().nullable(),
    tookMs: z.number(),
    error: z.string().nullable(),
  })
  .meta({ id: 'UpstreamCheck' }) satisfies z.ZodType<Wire<UpstreamCheck>>
