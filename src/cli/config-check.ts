import { stringify } from 'yaml'
import { describeConfig } from '../config.js'
import { readConfig } from './read-config.js'
import type { Surroundings } from './surroundings.js'

/** Says whether a config is right, and with `print` what it comes to, as a file: environment and defaults included. */
export async function configCheck(
  { config: path, print }: { config: string; print?: true | undefined },
  surroundings: Surroundings,
): Promise<number> {
  const config = await readConfig(path, surroundings)
  if (print) {
    surroundings.write(stringify(describeConfig(config)))
    return 0
  }
  const upstreams = config.upstreams.map(({ name }) => name).join(', ') || 'none'
  surroundings.write(`${path} is right. Upstreams: ${upstreams}. Data: ${config.dataDirectory}\n`)
  return 0
}
