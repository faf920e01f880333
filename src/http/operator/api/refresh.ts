import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { refreshAnswer } from './image-shapes.js'
import { upstreamNames } from './parameters.js'

export const refresh = defineEndpoint({
  method: 'POST',
  path: '/api/refresh',
  summary: 'Asks upstreams for their catalogues now, all or those named, and says what is new in them.',
  body: z.strictObject({ upstreams: upstreamNames.optional() }).optional(),
  answer: refreshAnswer,
  handle: ({ operations, operator, body }) => operations.upstreams.refresh(body?.upstreams, operator),
})
