import { defineEndpoint } from './define-endpoint.js'
import { prewarmAnswer } from './prewarm-shapes.js'

export const showPrewarming = defineEndpoint({
  method: 'GET',
  path: '/api/prewarm',
  summary: 'How it stands with what is to be here before anyone asks, policy by policy.',
  answer: prewarmAnswer,
  handle: ({ operations }) => operations.prewarms.show(),
})
