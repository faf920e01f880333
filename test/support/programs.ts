import { spawnSync } from 'node:child_process'

/** Why these programs cannot be run here, or `undefined` when they can. */
export function whyNoPrograms(...names: readonly string[]): string | undefined {
  const path = `${process.env.PATH}:/usr/sbin:/sbin`
  const missing = names.filter((name) => spawnSync('which', [name], { env: { PATH: path } }).status !== 0)
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`
}
