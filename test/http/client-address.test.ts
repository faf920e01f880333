import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import { clientAddressOf } from '../../src/http/client-address.js'
import { AddressSet } from '../../src/parts/address-set.js'

const PROXIES = new AddressSet(['127.0.0.1', '10.0.0.0/8', 'unix'])

function asked(remoteAddress: string | undefined, forwarded?: string): string {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
  return clientAddressOf({ headers, socket: { remoteAddress } as IncomingMessage['socket'] }, PROXIES)
}

describe('whose request it is', () => {
  it.each<[string, string | undefined, string | undefined, string]>([
    ['who is connected, believed or not', '192.0.2.1', undefined, '192.0.2.1'],
    ['who is connected, whatever they say', '192.0.2.1', '192.0.2.9', '192.0.2.1'],
    ['whom a proxy names', '127.0.0.1', '192.0.2.9', '192.0.2.9'],
    ['whom a proxy in IPv6 notation names', '::ffff:10.1.1.1', '2001:db8::9', '2001:db8::9'],
    ['whom a proxy on a socket names', undefined, '192.0.2.9', '192.0.2.9'],
    ['whom the last proxy in a row names', '127.0.0.1', '192.0.2.9, 10.0.0.3', '192.0.2.9'],
    ['not what the client wrote before that', '127.0.0.1', '198.51.100.7, 192.0.2.9', '192.0.2.9'],
    ['without the port', '127.0.0.1', '192.0.2.9:4711', '192.0.2.9'],
    ['without the port of IPv6', '127.0.0.1', '[2001:db8::9]:4711', '2001:db8::9'],
    ['the proxy, when it names nobody', '127.0.0.1', 'unknown', '127.0.0.1'],
    ['the proxy, when it says nothing', '127.0.0.1', '', '127.0.0.1'],
    ['a socket', undefined, undefined, 'unix'],
  ])('is %s', (_who, remote, forwarded, expected) => {
    expect(asked(remote, forwarded)).toBe(expected)
  })
})
