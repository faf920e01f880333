import { z } from 'zod'
import { parseImageSelection } from '../../../images/docker/image-selection.js'
import { parseRate } from '../../../parts/parse-rate.js'
import { defineEndpoint, parsed } from './define-endpoint.js'
import { filterText, policyNames } from './parameters.js'
import { planAnswer } from './prewarm-shapes.js'

const MOST_SELECTIONS = 1000

const selections = {
  match: z.array(filterText).max(MOST_SELECTIONS).default([]),
  exclude: z.array(filterText).max(MOST_SELECTIONS).default([]),
  docker: z
    .array(parsed(parseImageSelection, 'images of a registry'))
    .max(MOST_SELECTIONS)
    .default([])
    .meta({ description: 'As in the configuration: `library/alpine:newest:2`.' }),
  channels: z.array(z.string().max(64)).max(MOST_SELECTIONS).default([]),
  latest: z.number().int().min(1).max(100_000).optional(),
  by: z.enum(['version', 'date']).default('version'),
}

export const plan = defineEndpoint({
  method: 'POST',
  path: '/api/plan',
  summary:
    'What would be fetched, how much, and by when, for policies of the configuration or for images as chosen here; nothing moves.',
  body: z
    .strictObject({
      policies: policyNames.optional(),
      ...selections,
      rate: parsed((text) => {
        const rate = parseRate(text)
        return typeof rate === 'number' ? rate : undefined
      }, 'a rate such as 20Mbit/s')
        .optional()
        .meta({ description: 'As if no line were faster than that.' }),
    })
    .optional(),
  answer: planAnswer,
  handle({ body, operations }) {
    if (!body) return operations.prewarms.plan({})
    const { policies, rate, ...selection } = body
    const isChosen = selection.match.length + selection.docker.length > 0
    return operations.prewarms.plan({ policies, rate, ...(isChosen && { selection }) })
  },
})
