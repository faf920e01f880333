import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'

export const cancelJob = defineEndpoint({
  method: 'DELETE',
  path: '/api/jobs/:id',
  summary: 'Ends a job that can be ended. What it has done stays done.',
  answer: jobSummary,
  async handle({ operations, operator, params }) {
    const job = operations.jobs.find(params.id)
    job.cancel(operator.name)
    await job.ended
    return job.summary()
  },
})
