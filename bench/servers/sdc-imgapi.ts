import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../scripts/free-port.mjs'
import type { Reference } from './reference.js'
import { ServerProcess } from './server-process.js'

/** Where it keeps manifests, whatever its configuration says (lib/database.js, LocalDatabase). */
const FIXED_DATA = '/data'

/**
 * sdc-imgapi as images.smartos.org runs it, in public mode, with these manifests in its local database. Its directory is fixed,
 * so that it gets a view of the file system of its own, which only root may give: `/data` must be there, and is not touched.
 */
export async function startSdcImgapi(
  directory: string,
  { sdcImgapi, sdcImgapiNode }: Reference,
  manifests: readonly Readonly<Record<string, unknown>>[],
): Promise<{ readonly url: string; readonly process: ServerProcess; close(): Promise<void> }> {
  const data = join(directory, 'data')
  const database = join(data, 'imgapi', 'manifests')
  await mkdir(database, { recursive: true })
  for (const [place, manifest] of manifests.entries()) {
    const files = (manifest.files as object[]).map((file) => ({ ...file, stor: 'local' }))
    // One version more each, since no two images may have the same name and version.
    const raw = { ...manifest, version: `1.0.${place}`, activated: true, files }
    await writeFile(join(database, `${manifest.uuid}.raw`), JSON.stringify(raw))
  }
  const port = await freePort()
  const config = join(directory, 'config.json')
  const storage = { local: { baseDir: join(FIXED_DATA, 'imgapi') } }
  const local = { mode: 'public', databaseType: 'local', storageTypes: ['local'], authType: 'none', storage }
  await writeFile(
    config,
    JSON.stringify({ port, address: '127.0.0.1', logLevel: 'warn', datacenterName: 'bench', ...local }),
  )
  const url = `http://127.0.0.1:${port}`
  const server = await ServerProcess.start({
    command: 'unshare',
    args: [
      '--mount',
      ...['sh', '-c', `mount --bind "$0" ${FIXED_DATA} && exec "$@"`, data],
      ...[sdcImgapiNode ?? process.execPath, 'main.js', '--file', config],
    ],
    log: join(directory, 'sdc-imgapi.log'),
    directory: sdcImgapi!,
    isUp: async () => (await fetch(`${url}/ping`)).ok,
  })
  return { url, process: server, close: () => server.close() }
}
