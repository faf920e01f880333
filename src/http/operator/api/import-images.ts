import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'
import { uuidList } from './parameters.js'

export const importImages = defineEndpoint({
  method: 'POST',
  path: '/api/import',
  summary: 'Pulls images now, with all they build on, as a job; what several of them build on is pulled once.',
  body: z.strictObject({ uuids: uuidList }),
  answer: jobSummary,
  status: 202,
  handle: ({ operations, operator, body }) => operations.pulls.start([...new Set(body.uuids)], operator).summary(),
})
