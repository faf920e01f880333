import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'

export const adopt = defineEndpoint({
  method: 'POST',
  path: '/api/adopt',
  summary:
    'Takes in a directory of this machine, as a job: of dsapid, an image server, another mirror, or any with manifests and files. Every file is proved by its digests; the items say what was not taken, and why. Only for whoever is on this machine.',
  body: z.strictObject({ path: z.string().min(1).max(4096).meta({ description: 'Absolute.' }) }),
  answer: jobSummary,
  status: 202,
  handle: ({ operations, operator, body }) => operations.adoption.start(body.path, operator).summary(),
})
