import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'

export const requestBundles = defineEndpoint({
  method: 'GET',
  path: '/api/bundles/request',
  summary: 'An inventory that wants what is lacking of bundles that have come: for `export --for`, on the other side.',
  answer: z.strictObject({ text: z.string() }),
  handle: async ({ exports }) => ({ text: await exports.request() }),
})
