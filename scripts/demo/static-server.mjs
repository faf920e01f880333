// The "poor man's" image server: any web server, a directory, an index with the manifests, and files in <uuid>/<path>.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { freePort } from '../free-port.mjs'
import { ChildProcess } from './child-process.mjs'
import { datasetOf } from './images.mjs'

/**
 * Lays the files out, and gives back the server for them: nginx where it is installed, a few lines of Node where not.
 * @param {string} directory
 * @param {readonly import('./images.mjs').DemoImage[]} images
 */
export async function makeStaticServer(directory, images) {
  const root = join(directory, 'root')
  const datasets = images.map(datasetOf)
  for (const [place, { file }] of images.entries()) {
    const { uuid, files } = /** @type {ReturnType<typeof datasetOf>} */ (datasets[place])
    await mkdir(join(root, 'images', uuid), { recursive: true })
    for (const { path } of files) await writeFile(join(root, 'images', uuid, path), file)
  }
  await writeFile(join(root, 'images', 'index.html'), JSON.stringify(datasets, null, 2))
  const port = await freePort()
  return isNginxInstalled() ? new Nginx(directory, root, port) : new NodeFiles(root, port)
}

/** Servers live in sbin, which is not on everybody's path. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }

function isNginxInstalled() {
  return spawnSync('nginx', ['-v'], { env: ENVIRONMENT }).status === 0
}

class Nginx {
  what = "nginx: a directory of files, the poor man's server"
  #process = new ChildProcess()
  #directory
  #root
  #port

  /**
   * @param {string} directory for its configuration, logs and temporary files
   * @param {string} root
   * @param {number} port
   */
  constructor(directory, root, port) {
    this.#directory = directory
    this.#root = root
    this.#port = port
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/images`
  }

  async start() {
    const file = join(this.#directory, 'nginx.conf')
    const errors = join(this.#directory, 'nginx-errors.log')
    await writeFile(file, this.#configuration(errors))
    await this.#process.start('nginx', ['-c', file, '-e', errors], ENVIRONMENT, () =>
      fetch(this.url).then(
        (response) => response.ok,
        () => false,
      ),
    )
  }

  async stop() {
    await this.#process.stop('SIGTERM')
  }

  /** @param {string} errors */
  #configuration(errors) {
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (kind) => `${kind}_temp_path ${this.#directory}/${kind};`,
    )
    return `
      daemon off; worker_processes 1; pid ${this.#directory}/nginx.pid; error_log ${errors};
      ${process.getuid?.() === 0 ? 'user root;' : ''}
      events { worker_connections 64; }
      http {
        access_log off; default_type application/octet-stream; types { text/html html; }
        ${temporary.join(' ')}
        server { listen 127.0.0.1:${this.#port}; root ${this.#root}; }
      }`
  }
}

class NodeFiles {
  what = "a directory of files, the poor man's server (Node: nginx is not installed)"
  #root
  #port
  #server = createServer((request, response) => void this.#answer(request, response))

  /**
   * @param {string} root
   * @param {number} port
   */
  constructor(root, port) {
    this.#root = root
    this.#port = port
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/images`
  }

  async start() {
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async stop() {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async #answer(request, response) {
    const { pathname } = new URL(request.url ?? '/', this.url)
    const path = join(this.#root, pathname, pathname === '/images' ? 'index.html' : '')
    try {
      const { size } = await stat(path)
      response.writeHead(200, { 'content-length': size })
      await pipeline(createReadStream(path), response)
    } catch {
      if (!response.headersSent) response.writeHead(404)
      response.end()
    }
  }
}
