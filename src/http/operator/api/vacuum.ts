import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { vacuumAnswer } from './image-shapes.js'

export const vacuum = defineEndpoint({
  method: 'POST',
  path: '/api/vacuum',
  summary: 'Makes room by letting go of what was used longest ago, or says what that would be.',
  body: z
    .strictObject({
      bytes: z
        .number()
        .int()
        .min(1)
        .max(Number.MAX_SAFE_INTEGER)
        .optional()
        .meta({ description: 'How many to free; without it, as many as the quota is exceeded by.' }),
      dryRun: z.boolean().optional(),
    })
    .optional(),
  answer: vacuumAnswer,
  handle: ({ operations, operator, body }) => operations.removals.vacuum(body?.bytes, body?.dryRun ?? false, operator),
})
