import { onTestFinished } from 'vitest'
import { MirrorProcess, type ProcessOptions } from '../support/mirror-process.js'
import { temporaryDirectory } from '../support/temporary.js'

/**
 * A mirror in a process of its own, from its source, in a directory of its own; killed when the test has finished.
 * @param settings as in the config file; listeners are filled in, and the data directory if it is not named.
 */
export async function startMirrorProcess(
  settings: Record<string, unknown>,
  options: Pick<ProcessOptions, 'imports' | 'environment'> = {},
): Promise<MirrorProcess> {
  const directory = await temporaryDirectory()
  const mirror = await MirrorProcess.start(directory, settings, { ...options, isFromSource: true, isEager: true })
  onTestFinished(() => mirror.kill())
  await mirror.ready
  return mirror
}
