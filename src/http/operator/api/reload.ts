import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'

export const reload = defineEndpoint({
  method: 'POST',
  path: '/api/reload',
  summary:
    'Reads the configuration again and goes by it, cutting nothing that is under way; a wrong one is refused with all that is wrong.',
  answer: z
    .strictObject({
      changed: z
        .array(z.string())
        .meta({ description: 'Keys of the configuration that say something else from now on.' }),
      needsRestart: z.array(z.string()).meta({ description: 'Keys that do not before the mirror is started anew.' }),
    })
    .meta({ id: 'Reload' }),
  handle: ({ operations, operator }) => operations.reload(operator),
})
