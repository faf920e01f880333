import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { pinFacts } from './image-shapes.js'

export const pinImage = defineEndpoint({
  method: 'PUT',
  path: '/api/images/:uuid/pin',
  summary:
    'Keeps an image, and all it builds on, from leaving to make room. It fetches nothing. Answers all pins of the image.',
  body: z.strictObject({ reason: z.string().min(1).max(1000).optional() }).optional(),
  answer: z.strictObject({ uuid: z.string(), pins: z.array(pinFacts) }),
  async handle({ operations: { images, pins }, operator, params: { uuid }, body, signal }) {
    const manifest = await images.get(uuid, signal)
    await pins.pin({ uuid, by: operator.name, reason: body?.reason, sinceMs: Date.now() })
    return { uuid, pins: pins.of(manifest) }
  },
})
