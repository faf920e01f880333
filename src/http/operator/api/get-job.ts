import { defineEndpoint } from './define-endpoint.js'
import { jobDetails } from './job-shapes.js'

export const getJob = defineEndpoint({
  method: 'GET',
  path: '/api/jobs/:id',
  summary: 'How far a job is, item by item.',
  answer: jobDetails,
  handle: ({ operations, params }) => operations.jobs.find(params.id).details(),
})
