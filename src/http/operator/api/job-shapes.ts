import { z } from 'zod'
import type { JobDetails, JobItem, JobSummary } from '../../../mirror/jobs.js'

const item = z
  .strictObject({
    name: z.string(),
    state: z.enum(['waiting', 'running', 'done', 'failed', 'skipped']),
    sizeBytes: z.number().nullable(),
    doneBytes: z.number(),
    note: z.string().nullable(),
  })
  .meta({ id: 'JobItem' }) satisfies z.ZodType<JobItem>

export const jobSummary = z
  .strictObject({
    id: z.uuid(),
    kind: z.string().meta({ description: 'In one word: import, verify, adopt...' }),
    title: z.string(),
    by: z.string(),
    state: z.enum(['running', 'done', 'failed', 'cancelled']),
    startedMs: z.number(),
    endedMs: z.number().nullable(),
    totalBytes: z.number().nullable(),
    doneBytes: z.number(),
    itemCount: z.number(),
    itemsEnded: z.number(),
    isCancellable: z.boolean(),
    error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
    result: z.unknown().meta({ description: 'Of one that is done: what it answered; by kind.' }),
  })
  .meta({ id: 'Job' }) satisfies z.ZodType<Omit<JobSummary, 'id'>>

export const jobDetails = z
  .strictObject({ ...jobSummary.shape, items: z.array(item) })
  .meta({ id: 'JobDetails' }) satisfies z.ZodType<Omit<JobDetails, 'id'>>
