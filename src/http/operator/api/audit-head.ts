import { z } from 'zod'
import { auditHead } from './audit-shapes.js'
import { defineEndpoint } from './define-endpoint.js'

export const auditSignHead = defineEndpoint({
  method: 'POST',
  path: '/api/audit/head',
  summary:
    'Signs the head of the ledger as it is now: kept elsewhere, it proves later that nothing before it was changed.',
  body: z.strictObject({}).optional(),
  answer: auditHead,
  handle: ({ operations }) => operations.auditing.head(),
})
