import { jsonSchema } from '../config.js'
import type { Surroundings } from './surroundings.js'

/** Prints the JSON Schema of the config file. */
export function configSchema({ write }: Surroundings): number {
  write(jsonSchema())
  return 0
}
