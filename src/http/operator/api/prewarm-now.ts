import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'
import { policyNames } from './parameters.js'

export const prewarmNow = defineEndpoint({
  method: 'POST',
  path: '/api/prewarm',
  summary: 'Fetches now what policies want, all or those named, whether their windows are open or not; budgets hold.',
  body: z.strictObject({ policies: policyNames.optional() }).optional(),
  answer: jobSummary,
  status: 202,
  handle: ({ operations, operator, body }) => operations.prewarms.runNow(body?.policies, operator),
})
