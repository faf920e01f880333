import { z } from 'zod'
import { settingsSchema } from './schema.js'

/** The shape of the config file as JSON Schema (draft 2020-12), for editors. */
export function jsonSchema(): string {
  const schema = z.toJSONSchema(settingsSchema, { io: 'input' })
  return `${JSON.stringify({ title: 'imgapi-mirror configuration', ...schema }, null, 2)}\n`
}
