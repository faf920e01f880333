import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { imageRow } from './image-shapes.js'
import { pageOf, pageQuery } from './page.js'
import { filterText, yesOrNo } from './parameters.js'

export const listAllImages = defineEndpoint({
  method: 'GET',
  path: '/api/images',
  summary: 'Every image we know of, also those that clients are not shown; by name, then date, then uuid.',
  query: z.strictObject({
    held: yesOrNo.optional(),
    pinned: yesOrNo.optional(),
    filter: filterText.optional(),
    ...pageQuery,
  }),
  answer: pageOf(imageRow),
  handle: ({ operations, query: { held, pinned, filter, limit, marker } }) =>
    operations.images.list({ isHeld: held, isPinned: pinned, filter, limit, marker }),
})
