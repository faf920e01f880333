import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../scripts/free-port.mjs'
import { ServerProcess } from './server-process.js'

/** Debian's docker-registry as a pull-through cache of another registry. */
export async function startCachingRegistry(
  directory: string,
  upstreamUrl: string,
): Promise<{ readonly url: string; readonly process: ServerProcess; close(): Promise<void> }> {
  await mkdir(directory, { recursive: true })
  const port = await freePort()
  const configuration = {
    version: 0.1,
    log: { accesslog: { disabled: true }, level: 'error' },
    storage: { filesystem: { rootdirectory: join(directory, 'storage') } },
    http: { addr: `127.0.0.1:${port}` },
    proxy: { remoteurl: upstreamUrl },
  }
  const file = join(directory, 'registry.yml')
  await writeFile(file, JSON.stringify(configuration)) // JSON is YAML
  const url = `http://127.0.0.1:${port}`
  const server = await ServerProcess.start({
    command: 'docker-registry',
    args: ['serve', file],
    log: join(directory, 'registry.log'),
    environment: { OTEL_TRACES_EXPORTER: 'none' },
    isUp: async () => (await fetch(`${url}/v2/`)).ok,
  })
  return { url, process: server, close: () => server.close() }
}
