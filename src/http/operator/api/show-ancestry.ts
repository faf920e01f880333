import { defineEndpoint } from './define-endpoint.js'
import { ancestryAnswer } from './image-shapes.js'

export const showAncestry = defineEndpoint({
  method: 'GET',
  path: '/api/images/:uuid/ancestry',
  summary: 'What an image builds on, itself first, and what is still to be pulled for all of it to be held.',
  answer: ancestryAnswer,
  handle: ({ operations, params, signal }) => operations.images.ancestry(params.uuid, signal),
})
