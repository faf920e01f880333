import { describe, expect, it } from 'vitest'
import { isPublicAddress, isPublicHost } from '../../src/parts/public-address.js'

describe('an address', () => {
  it.each(['93.184.216.34', '1.1.1.1', '172.32.0.1', '2606:4700::1111', '2a00:1450:4001:80b::200e'])(
    '%s is public',
    (address) => {
      expect(isPublicAddress(address)).toBe(true)
    },
  )

  it.each([
    '0.0.0.0',
    '10.0.0.1',
    '100.64.1.1',
    '127.0.0.1',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:93.184.216.34',
    '64:ff9b::7f00:1',
    'fe80::1',
    'fe80::1%eth0',
    'fd00:ec2::254',
    'ff02::1',
    '2001:db8::1',
    '2001::1',
    '2002:7f00:1::1',
    'example.com',
    '',
  ])('%s is not public', (address) => {
    expect(isPublicAddress(address)).toBe(false)
  })
})

describe('a host', () => {
  it.each([
    ['cdn.example.com', true],
    ['93.184.216.34', true],
    ['[2606:4700::1111]', true],
    ['[::1]', false],
    ['127.0.0.1', false],
    ['localhost', false],
    ['localhost.', false],
    ['a.localhost', false],
    ['printer.local', false],
    ['metadata.google.internal', false],
    ['intranet', false],
    ['', false],
  ])('%s may be public: %s', (host, isPublic) => {
    expect(isPublicHost(host)).toBe(isPublic)
  })
})
