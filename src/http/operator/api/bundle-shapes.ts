import { z } from 'zod'
import type { Lacking, SeriesGap } from '../../../bundle/bundles.js'

const maker = z.strictObject({ site: z.string(), key: z.string() }).meta({ description: 'As it says itself.' })
const bundleId = z.string().meta({ description: 'SHA-256 of its bundle.json.' })

export const lacking = z
  .strictObject({
    bundle: bundleId,
    from: maker,
    series: z.strictObject({ name: z.string(), number: z.number() }).nullable(),
    firstComeMs: z.number().meta({ description: 'Milliseconds since 1970.' }),
    volumes: z.number(),
    volumesMissing: z
      .array(z.number())
      .meta({ description: 'Those with bytes that are not here: they never came, or were damaged.' }),
    objectsMissing: z.number().meta({ description: 'Manifests, configs and layers of Docker images.' }),
    images: z.array(
      z.strictObject({
        uuid: z.string(),
        name: z.string(),
        version: z.string(),
        missingBytes: z.number(),
        missingOrigins: z
          .array(z.string())
          .meta({ description: 'What it builds on and is neither here nor in the bundle.' }),
      }),
    ),
  })
  .meta({ id: 'LackingOfBundle' }) satisfies z.ZodType<Lacking>

export const seriesGap = z
  .strictObject({
    from: maker,
    series: z.string(),
    missing: z
      .array(z.tuple([z.number(), z.number()]))
      .meta({ description: 'Numbers that never came, as first and last of each gap.' }),
    unfollowed: z
      .array(z.strictObject({ number: z.number(), previous: bundleId }))
      .meta({ description: 'Bundles that follow another one than what came under the number before.' }),
    lastNumber: z.number(),
  })
  .meta({ id: 'SeriesGap' }) satisfies z.ZodType<SeriesGap>
