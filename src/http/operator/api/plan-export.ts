import { defineEndpoint } from './define-endpoint.js'
import { exportPlan, planRequest } from './export-shapes.js'

export const planExport = defineEndpoint({
  method: 'POST',
  path: '/api/bundles/plan',
  summary: 'What an export would write, to the byte, and pull before; does none of it.',
  body: planRequest,
  answer: exportPlan,
  handle: ({ exports, operator, body, signal }) => exports.plan(body, operator, signal),
})
