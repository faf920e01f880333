import { z } from 'zod'
import type { ExportPlan, ExportRequest } from '../../../bundle/bundles.js'
import { parsed } from './define-endpoint.js'

const MOST_TEXTS = 1_000

export const selectTexts = z.array(z.string().min(1).max(4096)).max(MOST_TEXTS)

export const latestCount = z.coerce.number('right is 1 or more').int().min(1).max(1_000_000)

/** As `bundle.json` takes it. */
const seriesName = parsed(
  (text) => (/^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,99}$/u.test(text) ? text : undefined),
  'a name of letters, digits, blanks, dots and dashes',
)

const exportFields = {
  select: selectTexts.default([]).meta({ description: 'Filters, which must all match, and uuids, of which one must.' }),
  latest: latestCount.optional().meta({ description: 'Of these the newest so many of each name.' }),
  by: z.enum(['version', 'date']).optional().meta({ description: 'What newest means.' }),
  inventory: z
    .string()
    .max(16 * 1024 * 1024)
    .optional()
    .meta({ description: 'Its text: only what its site lacks is packed.' }),
  sinceMs: z.number().int().min(0).optional().meta({ description: 'Only what came to be held since, ms since 1970.' }),
  sinceBundle: z
    .string()
    .regex(/^[0-9a-f]{8,64}$/, 'right is the id of a bundle, or the first 8 digits of it or more')
    .optional()
    .meta({ description: 'Only what this bundle, and those before it in its series, did not have.' }),
  volumeBytes: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).optional(),
  volumes: z.array(z.number().int().min(1)).min(1).max(10_000).optional().meta({ description: 'Only these; from 1.' }),
  parityPercent: z.number().int().min(0).max(50).optional(),
  series: seriesName.optional(),
  isUntrustedAllowed: z.boolean().optional(),
}

const directory = z.string().min(1).max(4096).meta({ description: 'Absolute; on the machine of the mirror.' })

export const exportRequest = z.strictObject({ ...exportFields, out: directory }) satisfies z.ZodType<ExportRequest>

export const planRequest = z.strictObject({
  ...exportFields,
  out: directory.optional(),
}) satisfies z.ZodType<ExportRequest>

export const exportPlan = z
  .strictObject({
    id: z.string().nullable().meta({ description: 'Of the bundle; null while images have to be pulled first.' }),
    images: z.array(
      z.strictObject({
        uuid: z.string(),
        name: z.string(),
        version: z.string(),
        sizeBytes: z.number(),
        bundledBytes: z.number().meta({ description: 'What of it the receiver lacks.' }),
        pulledBytes: z.number().meta({ description: 'What has to be pulled first.' }),
        why: z.enum(['selected', 'wanted', 'origin']),
      }),
    ),
    volumes: z.array(
      z.strictObject({ volume: z.number(), directory: z.string(), sizeBytes: z.number(), isWritten: z.boolean() }),
    ),
    sizeBytes: z.number().meta({ description: 'What the volumes take, parity and all.' }),
    pulledBytes: z.number(),
    freeBytes: z.number().nullable().meta({ description: 'What the medium has free.' }),
    alreadyThere: z.number().meta({ description: 'Images that are selected, and that the receiver has.' }),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'ExportPlan' }) satisfies z.ZodType<ExportPlan>
