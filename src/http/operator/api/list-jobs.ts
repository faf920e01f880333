import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'
import { pageFrom, pageOf, pageQuery } from './page.js'

export const listJobs = defineEndpoint({
  method: 'GET',
  path: '/api/jobs',
  summary: 'Long work under way, and the last that has ended; newest first.',
  query: z.strictObject({
    state: jobSummary.shape.state.optional(),
    kind: z.string().max(64).optional(),
    ...pageQuery,
  }),
  answer: pageOf(jobSummary),
  handle({ operations, query }) {
    const { state, kind, ...page } = query
    const jobs = operations.jobs
      .list()
      .filter((job) => (state ?? job.state) === job.state && (kind ?? job.kind) === job.kind)
    return pageFrom(jobs, page, ({ id }) => id)
  },
})
