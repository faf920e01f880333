import { z } from 'zod'
import type { PlanAnswer, PrewarmAnswer } from '../../../mirror/operations/prewarm-answers.js'
import type { Wire } from './image-shapes.js'

const ms = z.number().meta({ description: 'Milliseconds since 1970.' })
const outcome = z.enum(['held', 'comes', 'late', 'never', 'no room', 'not to be had'])

const run = z.strictObject({
  startedMs: ms,
  endedMs: ms,
  fetchedBytes: z.number(),
  fetchedFiles: z.number(),
  failedFiles: z.number(),
})

const counts = z.strictObject({
  wanted: z.number(),
  held: z.number(),
  comes: z.number(),
  late: z.number(),
  never: z.number(),
  noRoom: z.number(),
  notToBeHad: z.number(),
})

const state = z.enum(['fetching', 'complete', 'short', 'waiting', 'spent', 'held up', 'offline']).meta({
  description:
    'fetching: a run is under way. complete: all of it is here. short: all of it is here that can be had and fits. waiting: for its next window. spent: its budget is. held up: it may fetch, but its line is closed, or what is missing failed a while ago.',
})

const time = z.string().nullable().meta({ description: 'ISO 8601.' })

/** As /status says it. */
export const prewarmStatus = z.strictObject({
  name: z.string(),
  state,
  images: counts,
  missingBytes: z.number(),
  isBehind: z.boolean().nullable(),
  nextOpeningAt: time,
  doneAt: time,
  deadlineAt: time,
  budget: z.strictObject({ bytes: z.number(), spentBytes: z.number(), renewedAt: time }).nullable(),
  lastRun: z
    .strictObject({
      startedAt: time,
      endedAt: time,
      fetchedBytes: z.number(),
      fetchedFiles: z.number(),
      failedFiles: z.number(),
    })
    .nullable(),
})

const policy = z
  .strictObject({
    name: z.string(),
    state,
    nextOpeningMs: ms.nullable().meta({ description: 'When it may fetch next; now, if it may.' }),
    images: counts,
    missingBytes: z.number(),
    doneMs: ms.nullable().meta({ description: 'When the last of it comes, at the configured rates.' }),
    deadlineMs: ms.nullable(),
    isBehind: z.boolean().nullable(),
    budget: z.strictObject({ bytes: z.number(), spentBytes: z.number(), renewedMs: ms.nullable() }).nullable(),
    lastRun: run.nullable(),
  })
  .meta({ id: 'PrewarmPolicy' })

export const prewarmAnswer = z.strictObject({
  policies: z.array(policy).meta({ description: 'In the order of their turns.' }),
  job: z.string().nullable().meta({ description: 'The run under way.' }),
}) satisfies z.ZodType<Wire<PrewarmAnswer>>

const plannedImage = z
  .strictObject({
    uuid: z.string(),
    name: z.string(),
    version: z.string(),
    policy: z.string(),
    outcome,
    chain: z.number().meta({ description: 'Images of its chain, itself included.' }),
    fetchBytes: z.number().meta({ description: 'What is to be fetched for it, and was not for one before it.' }),
    startMs: ms.nullable(),
    doneMs: ms.nullable(),
    why: z.string().nullable(),
  })
  .meta({ id: 'PlannedImage' })

export const planAnswer = z.strictObject({
  atMs: ms,
  images: z.array(plannedImage).meta({ description: 'What is worth most first.' }),
  policies: z.array(
    z.strictObject({
      name: z.string(),
      fetchBytes: z.number(),
      doneMs: ms.nullable(),
      deadlineMs: ms.nullable(),
      isKept: z.boolean(),
    }),
  ),
  fetchBytes: z.number(),
  doneMs: ms.nullable(),
  isTimed: z.boolean().meta({ description: 'Whether every line has a rate.' }),
  evicted: z.array(
    z.strictObject({ uuid: z.string().nullable(), name: z.string(), version: z.string(), freedBytes: z.number() }),
  ),
  evictedBytes: z.number(),
  roomBytes: z.number(),
  warnings: z.array(z.string()),
}) satisfies z.ZodType<Wire<PlanAnswer>>
