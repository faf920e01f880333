import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort } from '../../scripts/free-port.mjs'
import { takesConnections } from './takes-connections.js'

/** Why Debian's nginx cannot be had here, or `undefined` when it can. */
export function whyNoNginx(): string | undefined {
  const found = spawnSync('which', ['nginx'], { env: { PATH: `${process.env.PATH}:/usr/sbin` } })
  return found.status === 0 ? undefined : "Debian's package nginx-light is not installed"
}

/** A real nginx, until it is closed. */
export interface Nginx {
  readonly url: string
  close(): Promise<void>
}

/** Starts one that serves a directory, on a port of its own, with everything it writes under `workspace`. */
export async function startNginx(workspace: string, directory: string): Promise<Nginx> {
  const port = await freePort()
  return await runNginx(
    workspace,
    `http://127.0.0.1:${port}`,
    `default_type application/octet-stream; types { text/html html; }
     server { listen 127.0.0.1:${port}; root ${directory}; }`,
  )
}

/**
 * Starts one with these lines inside of `http { }`, and waits until it takes connections.
 * @param url where these lines have it listen.
 */
export async function runNginx(workspace: string, url: string, lines: string): Promise<Nginx> {
  await mkdir(join(workspace, 'tmp'), { recursive: true })
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${workspace}/tmp/${name};`)
    .join('\n')
  const configuration = `
    daemon off; worker_processes 1; pid ${workspace}/nginx.pid; error_log ${workspace}/error.log;
    ${process.getuid?.() === 0 ? 'user root;' : ''}
    events { worker_connections 4096; }
    http { access_log ${workspace}/access.log; ${temporary} ${lines} }`
  const file = join(workspace, 'nginx.conf')
  await writeFile(file, configuration)
  const child = spawn('nginx', ['-c', file, '-e', join(workspace, 'error.log')], {
    stdio: 'ignore',
    env: { PATH: `${process.env.PATH}:/usr/sbin` },
  })
  while (!(await takesConnections(url))) {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}: see ${workspace}/error.log`)
    await wait(20)
  }
  return {
    url,
    async close() {
      child.kill('SIGQUIT')
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}
