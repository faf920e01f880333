import { defineEndpoint } from './define-endpoint.js'
import { removalAnswer } from './image-shapes.js'

export const removeImage = defineEndpoint({
  method: 'DELETE',
  path: '/api/images/:uuid',
  summary:
    'Lets go of a held image: not of one that is pinned, being read, or that held images build on. One that was published here is deleted by whoever published it.',
  answer: removalAnswer,
  handle: ({ operations, operator, params }) => operations.removals.remove(params.uuid, operator),
})
