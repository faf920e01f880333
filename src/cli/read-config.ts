import { type Config, loadConfig } from '../config.js'
import { MirrorError } from '../errors.js'
import type { Surroundings } from './surroundings.js'

/** @throws MirrorError CONFIG_INVALID when the file cannot be read, or with all that is wrong in it. */
export async function readConfig(path: string, surroundings: Surroundings): Promise<Config> {
  return await load(path, await readText(path, surroundings), surroundings)
}

/**
 * While a mirror runs. It may start with an empty file, which means all defaults; one that is empty later was emptied by somebody who
 * is just writing it, or by a full disk, and would take every upstream away and open the default ports to everybody.
 * @throws MirrorError CONFIG_INVALID, also when the file is empty.
 */
export async function readConfigAgain(path: string, surroundings: Surroundings): Promise<Config> {
  const text = await readText(path, surroundings)
  if (text.trim() === '') {
    throw new MirrorError('CONFIG_INVALID', `${path}: found nothing in it; if nothing but defaults are meant, write {}`)
  }
  return await load(path, text, surroundings)
}

async function readText(path: string, { readFile }: Surroundings): Promise<string> {
  try {
    return await readFile(path)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MirrorError('CONFIG_INVALID', `${path}: cannot be read: ${reason}`, { cause })
  }
}

function load(path: string, text: string, { environment, readFile }: Surroundings): Promise<Config> {
  return loadConfig({ path, text, environment, readFile })
}
