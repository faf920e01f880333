import { join } from 'node:path'
import { makeImage } from './images.mjs'
import { ImgapiServer } from './imgapi-server.mjs'
import { MirrorProcess } from './mirror-process.mjs'
import { makeStaticServer } from './static-server.mjs'

const KIB = 1024
const MIB = 1024 * KIB

/** Port 9 belongs to the discard service, which no machine has offered for decades. */
const NOBODY = 'http://127.0.0.1:9'

/**
 * The images of the demo, and the servers they come from. Web-shop builds on postgresql, which builds on base, and each
 * of the three lives on another server.
 * @param {string} directory
 */
export async function makeUpstreams(directory) {
  const base = makeImage('base', '24.4.1', 3 * MIB)
  const postgresql = makeImage('postgresql', '17.2.0', 2 * MIB, base)
  const webShop = makeImage('web-shop', '1.3.0', MIB, postgresql)
  const redis = makeImage('redis', '7.4.2', MIB)
  const lottery = makeImage('lottery', '6.49.0', MIB)

  const vendor = new ImgapiServer([base, redis, lottery])
  const liar = new ImgapiServer([lottery])
  const faraway = new ImgapiServer([postgresql])
  // Their ports have to be known before a mirror's configuration can be written.
  for (const server of [vendor, liar, faraway]) await server.start()
  const archive = await makeStaticServer(join(directory, 'archive'), [webShop])
  const neighbour = await MirrorProcess.make(join(directory, 'neighbour'), [
    { name: 'faraway', type: 'imgapi', url: faraway.url, comment: 'the one with postgresql' },
  ])

  /** @type {readonly { name: string, type: 'imgapi' | 'dsapi', url: string, what: string }[]} in order of precedence */
  const list = [
    { name: 'gone', type: 'imgapi', url: NOBODY, what: 'dead: nobody listens there' },
    { name: 'liar', type: 'imgapi', url: liar.url, what: 'an IMGAPI server that will send a wrong byte' },
    { name: 'vendor', type: 'imgapi', url: vendor.url, what: 'an honest IMGAPI server' },
    { name: 'archive', type: 'dsapi', url: archive.url, what: archive.what },
    { name: 'neighbour', type: 'imgapi', url: neighbour.url, what: 'another imgapi-mirror, itself before a server' },
  ]
  const servers = [faraway, neighbour, archive, vendor, liar]
  return {
    images: { base, postgresql, webShop, redis, lottery },
    list,
    vendor,
    liar,
    /** Harmless for those that run. Each after those it asks, so that its first question is answered. */
    async start() {
      for (const server of servers) await server.start()
    },
    async stop() {
      for (const server of servers.toReversed()) await server.stop()
    },
  }
}
