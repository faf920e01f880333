import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { jobSummary } from './job-shapes.js'

export const importBundles = defineEndpoint({
  method: 'POST',
  path: '/api/bundles/import',
  summary:
    'Takes in the bundles in a directory of this machine, as a job whose result says what is here now and what is lacking still. Only for whoever is on this machine.',
  body: z.strictObject({
    path: z.string().min(1).max(4096).meta({ description: 'Absolute: a volume, or a directory with volumes in it.' }),
    isUntrustedAllowed: z
      .boolean()
      .optional()
      .meta({ description: 'Take what nobody we trust has signed; the ledger tells.' }),
  }),
  answer: jobSummary,
  status: 202,
  handle: ({ imports, operator, body }) => imports.startImport(body, operator).summary(),
})
