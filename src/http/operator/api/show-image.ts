import { defineEndpoint } from './define-endpoint.js'
import { imageDetails } from './image-shapes.js'

export const showImage = defineEndpoint({
  method: 'GET',
  path: '/api/images/:uuid',
  summary:
    'All we know of an image: its manifest, who claims what of it and since when, what is held and where its bytes came from.',
  answer: imageDetails,
  handle: ({ operations, params, signal }) => operations.images.show(params.uuid, signal),
})
