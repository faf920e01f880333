import type { LookupAddress } from 'node:dns'
import { describe, expect, it } from 'vitest'
import { isPrivateAddress, lookupPublic } from '../../src/upstream/public-addresses.js'

describe('private addresses', () => {
  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.31.255.255',
    '192.168.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '255.255.255.255',
    '::1',
    '::',
    'fd00::1',
    'fe80::1',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '64:ff9b::a00:1',
  ])('%s is one', (address) => expect(isPrivateAddress(address)).toBe(true))

  it.each(['8.8.8.8', '172.32.0.1', '192.169.0.1', '11.0.0.1', '2606:4700::1111'])('%s is none', (address) =>
    expect(isPrivateAddress(address)).toBe(false),
  )

  it('are not where a name may lead, whether one address is asked for or all', async () => {
    for (const options of [{}, { all: true }, { family: 4 }]) {
      const looked = new Promise<string | LookupAddress[]>((resolve, reject) =>
        lookupPublic('localhost', options, (error, address) => (error ? reject(error) : resolve(address))),
      )
      await expect(looked).rejects.toThrow(/localhost leads to (127\.0\.0\.1|::1), a private address/)
    }
  })
})
