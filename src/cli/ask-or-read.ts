import type { Command, OptionValues } from '@commander-js/extra-typings'
import { isMirrorError } from '../errors.js'
import type { RestingImages } from '../mirror/operations/resting-images.js'
import { ApiClient } from './api-client.js'
import { CommandFailure, MISUSED } from './command.js'
import { addMirrorOptions, type MirrorOptions, NoMirror, readMirrorConfig, urlElsewhere } from './mirror-options.js'
import type { DataPlace, Surroundings } from './surroundings.js'

/** What the options of `addDirectoryOptions` come to. */
export interface DirectoryOptions extends MirrorOptions {
  readonly data?: string | undefined
}

/** Gives a command the options that say which mirror to ask, or which data directory to read. */
export function addDirectoryOptions<Args extends unknown[], Options extends OptionValues>(
  command: Command<Args, Options>,
) {
  return addMirrorOptions(command).option(
    '--data <directory>',
    'read this data directory, and ask no mirror; a mirror that uses it is not disturbed',
  )
}

/**
 * Asks the mirror. When none runs here, reads its data directory instead, and says so; with `--data`, reads that one and asks nobody.
 * A mirror elsewhere (`--url`) is the only one who can tell.
 *
 * @throws what `ask` and `read` throw; CommandFailure when there is neither a mirror nor a data directory.
 */
export async function askOrRead<Answer>(
  options: DirectoryOptions,
  surroundings: Surroundings,
  {
    ask,
    read,
  }: {
    readonly ask: (mirror: ApiClient) => Promise<Answer>
    readonly read: (data: RestingImages) => Promise<Answer>
  },
): Promise<Answer> {
  const { config, data: directory, url } = options
  if (directory !== undefined) {
    if (url !== undefined)
      throw new CommandFailure('--url asks a mirror, and --data reads a directory: say one', MISUSED)
    const place = {
      directory,
      config: config === undefined ? undefined : await readMirrorConfig(options, surroundings),
    }
    return await readAndClose(await open(place, surroundings), read)
  }
  try {
    return await ask(await ApiClient.open(options, surroundings))
  } catch (error) {
    const isElsewhere = urlElsewhere(options, surroundings.environment) !== undefined
    if (!(error instanceof NoMirror) || isElsewhere) throw error
    return await readAndClose(await openInstead(error, options, surroundings), read)
  }
}

/** @throws CommandFailure when there is no data directory either: then a mirror is what is missing. */
async function openInstead(noMirror: NoMirror, options: MirrorOptions, surroundings: Surroundings) {
  const config = await readMirrorConfig(options, surroundings)
  const directory = config.dataDirectory
  try {
    const data = await open({ directory, config }, surroundings)
    const [reason] = noMirror.message.split('; ')
    surroundings.complain(`${reason}: read from its data directory ${directory} instead\n`)
    return data
  } catch (error) {
    if (!isMirrorError(error, 'STORE_UNUSABLE')) throw error
    throw new CommandFailure(`${noMirror.message}; and ${error.message}`, undefined, { cause: error })
  }
}

async function open(place: DataPlace, { openData }: Surroundings): Promise<RestingImages> {
  if (!openData) throw new CommandFailure('no data directory can be read from here')
  return await openData(place)
}

async function readAndClose<Answer>(data: RestingImages, read: (data: RestingImages) => Promise<Answer>) {
  try {
    return await read(data)
  } finally {
    await data.close()
  }
}
