import { z } from 'zod'
import { auditReport } from './audit-shapes.js'
import { defineEndpoint } from './define-endpoint.js'

const time = (what: string) =>
  z.iso.datetime({ offset: true, error: 'right is a time, such as 2026-01-31T00:00:00Z' }).meta({ description: what })

export const getAuditReport = defineEndpoint({
  method: 'GET',
  path: '/api/audit/report',
  summary: 'What was held, pulled, served, changed and wrong in a time span, with the signed head of the ledger.',
  query: z.strictObject({
    since: time('From then on; without it, from the beginning.').optional(),
    until: time('Up to then; without it, up to now.').optional(),
  }),
  answer: auditReport,
  handle({ operations, query, signal }) {
    const sinceMs = query.since === undefined ? 0 : Date.parse(query.since)
    const untilMs = query.until === undefined ? Date.now() : Date.parse(query.until)
    return operations.auditing.report({ sinceMs, untilMs, signal })
  },
})
