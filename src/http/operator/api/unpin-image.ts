import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { pinFacts } from './image-shapes.js'

export const unpinImage = defineEndpoint({
  method: 'DELETE',
  path: '/api/images/:uuid/pin',
  summary:
    'Takes back the pin that an operator has set. Answers the pins that are left: those of the configuration stay.',
  answer: z.strictObject({ uuid: z.string(), pins: z.array(pinFacts) }),
  async handle({ operations: { images, pins }, operator, params: { uuid }, signal }) {
    await pins.unpin(uuid, operator.name)
    const manifest = await images.get(uuid, signal)
    return { uuid, pins: pins.of(manifest) }
  },
})
