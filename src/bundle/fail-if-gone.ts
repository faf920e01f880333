import { MirrorError } from '../errors.js'
import type { Medium } from '../store/medium.js'

/**
 * To be asked when something could not be read or written: what is damaged is still there.
 * @param within a directory with something in it: empty, it is as good as gone.
 * @throws MirrorError MEDIUM_UNREADABLE when the medium is not there any more, saying what to do.
 */
export async function failIfGone(medium: Medium, within?: string): Promise<void> {
  const message = `${medium.path} is gone: was it pulled out? What came stays; put it back and give the same command again`
  let entries: readonly unknown[]
  try {
    entries = await medium.list(within ?? '', 1)
  } catch (cause) {
    throw new MirrorError('MEDIUM_UNREADABLE', message, { cause })
  }
  if (within !== undefined && entries.length === 0) throw new MirrorError('MEDIUM_UNREADABLE', message)
}
