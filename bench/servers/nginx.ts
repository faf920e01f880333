import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../scripts/free-port.mjs'
import { ServerProcess } from './server-process.js'

export interface BenchedNginx {
  readonly url: string
  readonly process: ServerProcess
  /** One line per request: bytes of the body that were sent, and the path. */
  readonly accessLog: string
  close(): Promise<void>
}

/**
 * Debian's nginx, with a worker per core and sendfile, logging every request as we do.
 * @param server what stands in its `server {}`.
 * @param http what else stands in its `http {}`.
 */
export async function startNginx(directory: string, server: string, http = ''): Promise<BenchedNginx> {
  await mkdir(directory, { recursive: true })
  const port = await freePort()
  const accessLog = join(directory, 'access.log')
  const errors = join(directory, 'errors.log')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${directory}/${kind};`,
  )
  const configuration = `
    daemon off; worker_processes auto; pid ${directory}/nginx.pid; error_log ${errors};
    ${process.getuid?.() === 0 ? 'user root;' : ''}
    events { worker_connections 4096; }
    http {
      log_format sent '$body_bytes_sent $uri'; access_log ${accessLog} sent;
      sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type application/octet-stream; types {}
      ${temporary.join(' ')}
      ${http}
      server { listen 127.0.0.1:${port} backlog=4096; ${server} }
    }`
  const file = join(directory, 'nginx.conf')
  await writeFile(file, configuration)
  const url = `http://127.0.0.1:${port}`
  const server_ = await ServerProcess.start({
    command: 'nginx',
    args: ['-c', file, '-e', errors],
    log: errors,
    isUp: async () => (await fetch(url)).status > 0,
  })
  return { url, process: server_, accessLog, close: () => server_.close() }
}

/** nginx as somebody would put it before an image server to keep what passes: one fetch per file, the others wait. */
export async function startCachingNginx(directory: string, upstreamUrl: string): Promise<BenchedNginx> {
  return await startNginx(
    directory,
    `location / {
       proxy_pass ${upstreamUrl}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0;
       proxy_cache kept; proxy_cache_lock on; proxy_cache_valid 200 1d;
     }`,
    `proxy_cache_path ${directory}/kept keys_zone=kept:10m max_size=100g use_temp_path=off;`,
  )
}
