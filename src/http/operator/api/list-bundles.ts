import { z } from 'zod'
import { lacking, seriesGap } from './bundle-shapes.js'
import { defineEndpoint } from './define-endpoint.js'

export const listBundles = defineEndpoint({
  method: 'GET',
  path: '/api/bundles',
  summary: 'Bundles of which something is lacking still, and series of which some bundle never came.',
  answer: z.strictObject({
    isDiode: z.boolean().meta({ description: 'Nothing of ours can travel back.' }),
    awaited: z.array(lacking),
    gaps: z.array(seriesGap),
  }),
  handle: ({ imports }) => ({ isDiode: imports.isDiode, awaited: imports.lacking(), gaps: imports.gaps() }),
})
