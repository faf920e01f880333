import { exampleYaml } from '../config.js'
import type { Surroundings } from './surroundings.js'

/** Prints a config file with every key in it. */
export function configExample({ write }: Surroundings): number {
  write(exampleYaml())
  return 0
}
