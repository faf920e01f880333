import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'

export const scrub = defineEndpoint({
  method: 'POST',
  path: '/api/scrub',
  summary:
    'Reads everything again now that is kept, manifests and claims included, as a job. What is damaged is mended.',
  answer: jobSummary,
  status: 202,
  handle: ({ operations, operator }) => operations.verification.scrub(operator).summary(),
})
