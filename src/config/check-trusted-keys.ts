import { parseMinisignKey } from '../parts/minisign.js'
import { formatPath, type Path, type Problem } from './problem.js'
import { isMapping } from './walk-schema.js'

/**
 * Whether the files of `bundles.trustedKeys` have keys in them.
 * @param contents of the files, by `formatPath` of the key that names them. One that could not be read is not there.
 */
export function checkTrustedKeys(data: unknown, contents: ReadonlyMap<string, string>): Problem[] {
  const bundles = isMapping(data) ? data.bundles : undefined
  const files = isMapping(bundles) && Array.isArray(bundles.trustedKeys) ? bundles.trustedKeys : []
  return [...files.keys()].flatMap((place) => {
    const path: Path = ['bundles', 'trustedKeys', place]
    const text = contents.get(formatPath(path))
    if (text === undefined || parseMinisignKey(text)) return []
    return [{ path, complaint: 'right is a file with one public key, as minisign writes it and keys/mirror.pub is' }]
  })
}
