/*
 * Loaded into a mirror's process before anything of ours: writes down every outbound connection and every look-up of a
 * name that the process begins, by what Node makes for it underneath, whichever library asked. Timers, files and the
 * sockets of clients who come to us are none of these.
 */
import { createHook } from 'node:async_hooks'
import { appendFileSync } from 'node:fs'

const OUTBOUND = new Set([
  'TCPCONNECTWRAP',
  'GETADDRINFOREQWRAP',
  'GETNAMEINFOREQWRAP',
  'QUERYWRAP',
  'UDPWRAP',
  'UDPSENDWRAP',
])
const path = process.env.NETWORK_WATCH ?? ''

createHook({
  init(_id, type) {
    if (OUTBOUND.has(type)) appendFileSync(path, `${type}\n`)
  },
}).enable()
