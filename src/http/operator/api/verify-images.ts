import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'
import { filterText, uuidList } from './parameters.js'

export const verifyImages = defineEndpoint({
  method: 'POST',
  path: '/api/verify',
  summary:
    'Reads held images again now, as a job: all of them, those that match, or those named. What is damaged is mended.',
  body: z.strictObject({ uuids: uuidList.optional(), filter: filterText.optional() }).optional(),
  answer: jobSummary,
  status: 202,
  handle: ({ operations, operator, body }) =>
    operations.verification.verify({ uuids: body?.uuids, filter: body?.filter }, operator).summary(),
})
