import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort } from '../../scripts/free-port.mjs'

/** Why Debian's nginx cannot be had here, or `undefined` when it can. */
export function whyNoNginx(): string | undefined {
  const found = spawnSync('which', ['nginx'], { env: { PATH: `${process.env.PATH}:/usr/sbin` } })
  return found.status === 0 ? undefined : "Debian's package nginx-light is not installed"
}

/** Starts a real nginx that serves a directory, on a port of its own, with everything it writes under `workspace`. */
export async function startNginx(
  workspace: string,
  directory: string,
): Promise<{ url: string; close(): Promise<void> }> {
  const port = await freePort()
  await mkdir(join(workspace, 'tmp'), { recursive: true })
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${workspace}/tmp/${name};`)
    .join('\n')
  const configuration = `
    daemon off; worker_processes 1; pid ${workspace}/nginx.pid; error_log ${workspace}/error.log;
    ${process.getuid?.() === 0 ? 'user root;' : ''}
    events { worker_connections 256; }
    http { access_log ${workspace}/access.log; default_type application/octet-stream; types { text/html html; }
      ${temporary}
      server { listen 127.0.0.1:${port}; root ${directory}; } }`
  const file = join(workspace, 'nginx.conf')
  await writeFile(file, configuration)
  const child = spawn('nginx', ['-c', file, '-e', join(workspace, 'error.log')], {
    stdio: 'ignore',
    env: { PATH: `${process.env.PATH}:/usr/sbin` },
  })
  const url = `http://127.0.0.1:${port}`
  while (!(await fetch(url).catch(() => undefined))) {
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
