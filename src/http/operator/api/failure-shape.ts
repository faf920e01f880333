import { z } from 'zod'

/** Every answer that is not a success, as IMGAPI's are. */
export const failureBody = z
  .strictObject({
    code: z.string(),
    message: z.string(),
    errors: z
      .array(
        z.strictObject({
          field: z.string(),
          code: z.enum(['MissingParameter', 'Missing', 'Invalid', 'NotAllowed']),
          message: z.string().optional(),
        }),
      )
      .optional()
      .meta({ description: 'What is wrong with which parameter.' }),
  })
  .meta({ id: 'Failure' })
