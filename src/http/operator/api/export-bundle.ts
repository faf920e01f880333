import { defineEndpoint } from './define-endpoint.js'
import { exportRequest } from './export-shapes.js'
import { jobSummary } from './job-shapes.js'

export const exportBundle = defineEndpoint({
  method: 'POST',
  path: '/api/bundles/export',
  summary:
    'Packs images into a bundle on a medium, as a job; pulls first what is not held. Done again, it goes on where it was broken off. Only for whoever is on this machine.',
  body: exportRequest,
  answer: jobSummary,
  status: 202,
  handle: ({ exports, operator, body }) => exports.startExport(body, operator).summary(),
})
