import { z } from 'zod'
import { ledgerVerdict } from './audit-shapes.js'
import { defineEndpoint } from './define-endpoint.js'

export const auditVerify = defineEndpoint({
  method: 'POST',
  path: '/api/audit/verify',
  summary: 'Reads the whole ledger, and tells everything in it that is not as it was written.',
  body: z
    .strictObject({
      heads: z.array(z.string().max(4096)).max(100).optional().meta({ description: 'Heads that were kept elsewhere.' }),
      publicKey: z.string().max(4096).optional().meta({ description: 'The public key that was kept elsewhere.' }),
    })
    .default({}),
  answer: ledgerVerdict,
  handle({ body, operations, signal }) {
    const { heads, publicKey } = body
    return operations.auditing.verify({ ...(heads && { heads }), publicKey, signal })
  },
})
