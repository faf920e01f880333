import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { upstreamCheck } from './image-shapes.js'
import { upstreamNames } from './parameters.js'

export const checkUpstreams = defineEndpoint({
  method: 'POST',
  path: '/api/upstreams/check',
  summary:
    'Asks upstreams a cheap question now, all or those named: whether they answer, how fast, and what they speak.',
  body: z.strictObject({ upstreams: upstreamNames.optional() }).optional(),
  answer: z.array(upstreamCheck),
  handle: ({ operations, body, signal }) => operations.upstreams.check(body?.upstreams, signal),
})
