import { z } from 'zod'
import { defineEndpoint } from './define-endpoint.js'
import { latestCount, selectTexts } from './export-shapes.js'

export const getInventory = defineEndpoint({
  method: 'GET',
  path: '/api/inventory',
  summary: 'What is held here, signed, for whoever packs a bundle for us; with `select`, also what we want of them.',
  query: z.strictObject({
    select: z
      .union([selectTexts, z.string().min(1).max(4096)])
      .transform((texts) => (typeof texts === 'string' ? [texts] : texts))
      .optional()
      .meta({ description: 'A filter; several must all match.' }),
    latest: latestCount.optional(),
  }),
  answer: z.strictObject({ text: z.string() }),
  async handle({ exports, query: { latest, select } }) {
    const wants = select || latest !== undefined ? [{ kind: 'select' as const, filters: select ?? [], latest }] : []
    return { text: await exports.inventory(wants) }
  },
})
