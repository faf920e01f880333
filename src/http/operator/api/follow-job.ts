import { defineEvents } from './define-endpoint.js'
import { jobDetails } from './job-shapes.js'

export const followJob = defineEvents({
  method: 'GET',
  path: '/api/jobs/:id/events',
  summary:
    'How far a job is, again and again until it has ended: first with all its items, then with those that changed. The last event says how it ended.',
  event: jobDetails,
  events: ({ operations, params, signal }) => operations.jobs.find(params.id).follow(signal),
})
