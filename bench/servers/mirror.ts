import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { ServerProcess } from './server-process.js'

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

/** This mirror as it is deployed: built, in a process of its own, with its defaults, logging every request to a file. */
export interface BenchedMirror {
  readonly url: string
  readonly operatorUrl: string
  readonly process: ServerProcess
  close(): Promise<void>
}

/**
 * Starts a mirror; its catalogue is complete when it resolves.
 * @param directory for its configuration, log and data; kept when it is there.
 * @param settings as in the config file, on top of the defaults.
 * @param flags for Node, such as `--cpu-prof`.
 */
export async function startMirror(
  directory: string,
  settings: Readonly<Record<string, unknown>>,
  flags: readonly string[] = [],
): Promise<BenchedMirror> {
  await mkdir(directory, { recursive: true })
  const config = join(directory, 'mirror.yaml')
  const log = join(directory, `mirror-${performance.now()}.log`)
  const basics = { listen: '127.0.0.1:0', operator: '127.0.0.1:0', data: './data', log: { format: 'json' } }
  await writeFile(config, stringify({ ...basics, ...settings }))
  const urls = { clients: '', operators: '' }
  const process_ = await ServerProcess.start({
    command: process.execPath,
    args: [...flags, main, 'serve', '--config', config],
    log,
    directory,
    isUp: async ({ said }) => {
      urls.clients = /"clients: (http:[^"]+)"/.exec(said)?.[1] ?? ''
      urls.operators = /"operators: (http:[^"]+)"/.exec(said)?.[1] ?? ''
      if (urls.clients === '' || urls.operators === '') return false
      return (await fetch(`${urls.operators}/readyz`)).ok
    },
  })
  return {
    url: urls.clients,
    operatorUrl: urls.operators,
    process: process_,
    close: () => process_.close(),
  }
}
