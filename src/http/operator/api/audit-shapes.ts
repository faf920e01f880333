import { z } from 'zod'
import type { AuditHead } from '../../../mirror/operations/audit-head.js'
import type { AuditReport } from '../../../mirror/operations/audit-report.js'
import type { AuditEntry, Comparison } from '../../../mirror/operations/auditing.js'
import type { LedgerVerdict } from '../../../mirror/operations/verify-ledger.js'

const ms = z.number().int().meta({ description: 'ms since 1970' })

export const auditEntry = z.strictObject({
  seq: z.number().int(),
  atMs: ms,
  kind: z.string(),
  image: z.string().nullable(),
  facts: z.record(z.string(), z.unknown()),
}) satisfies z.ZodType<AuditEntry>

export const auditHead = z.strictObject({
  entries: z.number().int(),
  hash: z.string(),
  atMs: ms,
  key: z.string(),
  text: z.string().meta({ description: 'What is signed.' }),
  signature: z.string().meta({ description: 'The content of a .minisig file.' }),
  publicKey: z.string().nullable().meta({ description: 'The content of a minisign .pub file.' }),
}) satisfies z.ZodType<AuditHead>

export const ledgerVerdict = z.strictObject({
  isIntact: z.boolean(),
  entries: z.number().int(),
  segments: z.number().int(),
  sizeBytes: z.number().int(),
  hash: z.string(),
  firstMs: ms.nullable(),
  lastMs: ms.nullable(),
  faults: z.array(
    z.strictObject({ entry: z.number().int(), file: z.string(), line: z.number().int(), complaint: z.string() }),
  ),
  faultsFound: z.number().int(),
  signedHeads: z.number().int(),
  lastSignedMs: ms.nullable(),
  entriesUnsigned: z.number().int(),
  heads: z.array(
    z.strictObject({
      entries: z.number().int(),
      hash: z.string(),
      from: z.string(),
      isSigned: z.boolean(),
      complaint: z.string().nullable(),
    }),
  ),
  key: z.string().nullable(),
  keyComplaint: z.string().nullable(),
  unfinishedBytes: z.number().int(),
}) satisfies z.ZodType<LedgerVerdict>

const declaredFile = z.strictObject({
  sizeBytes: z.number().int(),
  sha256: z.string().exactOptional(),
  sha1: z.string().exactOptional(),
  md5: z.string().exactOptional(),
})

export const comparison = z.strictObject({
  askedMs: ms,
  imagesHeld: z.number().int(),
  upstreams: z.array(z.strictObject({ name: z.string(), compared: z.number().int(), error: z.string().nullable() })),
  discrepancies: z.array(
    z.strictObject({
      upstream: z.string(),
      uuid: z.string(),
      name: z.string(),
      version: z.string(),
      differences: z.array(z.string()),
      held: z.array(declaredFile),
      claimed: z.array(declaredFile),
    }),
  ),
}) satisfies z.ZodType<Told<Comparison>>

const event = z.strictObject({
  seq: z.number().int(),
  atMs: ms,
  kind: z.string(),
  uuid: z.string().nullable(),
  what: z.string(),
})

export const auditReport = z.strictObject({
  sinceMs: ms,
  untilMs: ms,
  madeMs: ms,
  head: auditHead.nullable(),
  totals: z.strictObject({
    imagesHeld: z.number().int(),
    bytesHeld: z.number().int(),
    filesPulled: z.number().int(),
    bytesPulled: z.number().int(),
    served: z.number().int(),
    scrubbed: z.number().int(),
    failures: z.number().int(),
    changes: z.number().int(),
  }),
  images: z.array(
    z.strictObject({
      uuid: z.string(),
      name: z.string(),
      version: z.string(),
      upstream: z.string(),
      files: z.array(
        z.strictObject({
          sizeBytes: z.number().int(),
          sha1: z.string(),
          sha256: z.string(),
          lastCheckedMs: ms,
          isNeverRechecked: z.boolean(),
        }),
      ),
      firstSeenMs: ms,
      heldSinceMs: ms,
      isGood: z.boolean(),
      served: z.number().int(),
    }),
  ),
  conflicts: z.array(
    z.strictObject({
      uuid: z.string(),
      winner: z.string(),
      loser: z.string(),
      differences: z.array(z.string()),
      sinceMs: ms,
      settledMs: ms.nullable(),
    }),
  ),
  failures: z.array(event),
  changes: z.array(event),
}) satisfies z.ZodType<AuditReport>

/** Over the line a uuid is a text. */
type Told<Value> = Value extends string
  ? string
  : Value extends object
    ? { [Key in keyof Value]: Told<Value[Key]> }
    : Value
