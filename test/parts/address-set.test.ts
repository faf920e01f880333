import { expect, it } from 'vitest'
import { AddressSet, isNetwork } from '../../src/parts/address-set.js'

it.each(['127.0.0.1', '10.0.0.0/8', '0.0.0.0/0', '::1', 'fd00::/8', '::ffff:10.0.0.1', 'unix'])(
  '%s is an address or a network',
  (text) => expect(isNetwork(text)).toBe(true),
)

it.each(['', 'localhost', '10.0.0.0/33', '::/129', '10.0.0', '10.0.0.0/', '10.0.0.0/8/8', '/8', 'UNIX', '1.2.3.4 '])(
  '"%s" is neither',
  (text) => expect(isNetwork(text)).toBe(false),
)

it('holds the addresses of its networks, in either way of writing them, and no others', () => {
  const set = new AddressSet(['10.0.0.0/8', '192.0.2.7', 'fd00::/8'])
  const asked = [
    '10.255.0.1',
    '::ffff:10.0.0.1',
    '192.0.2.7',
    'fd12::1',
    '192.0.2.8',
    '11.0.0.1',
    'fe80::1',
    'unix',
    '',
  ]
  expect(asked.filter((address) => set.has(address))).toEqual(asked.slice(0, 4))
  expect(set.has(undefined)).toBe(false)
  expect(new AddressSet(['unix']).has(undefined)).toBe(true)
})
