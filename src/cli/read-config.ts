import { type Config, loadConfig } from '../config.js'
import { MirrorError } from '../errors.js'
import type { Surroundings } from './surroundings.js'

/** @throws MirrorError CONFIG_INVALID when the file cannot be read, or with all that is wrong in it. */
export async function readConfig(path: string, { environment, readFile }: Surroundings): Promise<Config> {
  let text: string
  try {
    text = await readFile(path)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MirrorError('CONFIG_INVALID', `${path}: cannot be read: ${reason}`, { cause })
  }
  return loadConfig({ path, text, environment, readFile })
}
