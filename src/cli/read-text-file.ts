import { CommandFailure } from './command.js'
import type { Surroundings } from './surroundings.js'

/** @throws CommandFailure naming the file, and why it cannot be read. */
export async function readTextFile(path: string, { readFile }: Pick<Surroundings, 'readFile'>): Promise<string> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw new CommandFailure(`${path} cannot be read: ${(cause as Error).message}`, undefined, { cause })
  }
}
