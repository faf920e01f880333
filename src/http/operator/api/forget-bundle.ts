import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'

export const forgetBundle = defineEndpoint({
  method: 'DELETE',
  path: '/api/bundles/:id',
  summary:
    'Has nobody wait any more for what is lacking of a bundle (its id, or how that begins), or of a series for NAME:NUMBER and what came before. What came stays until room is needed.',
  answer: z.strictObject({ forgotten: z.string() }),
  async handle({ imports, operator, params }) {
    await imports.forget(params.id, operator)
    return { forgotten: params.id }
  },
})
