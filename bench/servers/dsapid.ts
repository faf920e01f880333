import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../scripts/free-port.mjs'
import { ServerProcess } from './server-process.js'

/** dsapid with these manifests of version 2, one per directory, as it keeps them itself. */
export async function startDsapid(
  directory: string,
  binary: string,
  manifests: readonly Readonly<Record<string, unknown>>[],
): Promise<{ readonly url: string; readonly process: ServerProcess; close(): Promise<void> }> {
  const data = join(directory, 'data')
  for (const manifest of manifests) {
    const home = join(data, String(manifest.uuid))
    await mkdir(home, { recursive: true })
    const [file] = manifest.files as { size: number; sha1: string }[]
    const files = [{ path: 'file', size: file!.size, sha1: file!.sha1, compression: 'none' }]
    const own = { ...manifest, provider: 'community', created_at: manifest.published_at, requirements: {}, files }
    await writeFile(join(home, 'manifest.json'), JSON.stringify(own))
  }
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const users = join(directory, 'users.json')
  await writeFile(users, '[]')
  const config = {
    hostname: 'localhost',
    log_level: 'error',
    base_url: `${url}/`,
    listen: { http: { address: `127.0.0.1:${port}` } },
    datadir: data,
    users,
  }
  const file = join(directory, 'config.json')
  await writeFile(file, JSON.stringify(config))
  const server = await ServerProcess.start({
    command: binary,
    args: ['-config', file],
    log: join(directory, 'dsapid.log'),
    directory,
    isUp: async () => (await fetch(`${url}/ping`)).ok,
  })
  return { url, process: server, close: () => server.close() }
}
