import { z } from 'zod'
import { comparison } from './audit-shapes.js'
import { defineEndpoint } from './define-endpoint.js'

export const auditCompare = defineEndpoint({
  method: 'POST',
  path: '/api/audit/compare',
  summary: 'Asks all upstreams now, and tells every difference between what they claim and what is held.',
  body: z.strictObject({}).optional(),
  answer: comparison,
  handle: ({ operations, signal }) => operations.auditing.compare(signal),
})
