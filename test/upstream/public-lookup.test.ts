import type { LookupAddress } from 'node:dns'
import { describe, expect, it } from 'vitest'
import { publicLookup } from '../../src/upstream/public-lookup.js'

const resolve = (addresses: LookupAddress[], all: boolean) =>
  new Promise((done, fail) => {
    const lookup = publicLookup((_name, _options, answer) => answer(null, addresses))
    lookup('cdn.example.com', { all }, (error, found) => (error ? fail(error) : done(found)))
  })

const good = { address: '93.184.216.34', family: 4 }
const inside = { address: '10.0.0.1', family: 4 }

describe('a lookup for connections that a stranger sends us on', () => {
  it('finds public addresses', async () => {
    expect(await resolve([good], true)).toEqual([good])
    expect(await resolve([good], false)).toBe(good.address)
  })

  it('fails for any that is not public, also among others, and for none', async () => {
    await expect(resolve([inside], true)).rejects.toThrow('10.0.0.1, which is no public address')
    await expect(resolve([good, inside], false)).rejects.toThrow('no public address')
    await expect(resolve([], true)).rejects.toThrow('no address')
  })

  it('asks the name server of this machine, whether one address is asked for or all', async () => {
    for (const options of [{}, { all: true }, { family: 4 }]) {
      const looked = new Promise((done, fail) => {
        publicLookup()('localhost', options, (error, found) => (error ? fail(error) : done(found)))
      })
      await expect(looked).rejects.toThrow(/localhost leads to (127\.0\.0\.1|::1), which is no public address/)
    }
  })
})
