import { z } from 'zod'
import { parseUuid } from '../../../images/uuid.js'
import { auditEntry } from './audit-shapes.js'
import { defineEndpoint, parsed } from './define-endpoint.js'

const MOST = 1_000

export const auditLog = defineEndpoint({
  method: 'GET',
  path: '/api/audit/log',
  summary: 'The newest entries of the ledger, about one image or all; oldest first.',
  query: z.strictObject({
    image: parsed(parseUuid, 'a lower-case uuid').optional(),
    limit: z.coerce.number(`right is a number from 1 to ${MOST}`).int().min(1).max(MOST).default(100),
  }),
  answer: z.strictObject({ items: z.array(auditEntry) }),
  async handle({ operations, query }) {
    return { items: await operations.auditing.log(query.image, query.limit) }
  },
})
