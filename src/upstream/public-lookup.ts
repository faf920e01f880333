import { type LookupAddress, type LookupOptions, lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { isPublicAddress } from '../parts/public-address.js'

type LookupAll = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

/**
 * A name lookup for connections that a stranger sends us on: it finds public addresses, or fails when any of them is not. As it
 * is the connection's own lookup, what was checked is what is connected to; a second answer of the name server changes nothing.
 * Addresses that are written as such are not looked up, and pass: whoever lets strangers name them looks at them before.
 */
export function publicLookup(resolve: LookupAll = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, [])
      const inside = addresses.find(({ address }) => !isPublicAddress(address))
      if (inside) return callback(new Error(`${hostname} leads to ${inside.address}, which is no public address`), [])
      const [first] = addresses
      if (!first) return callback(new Error(`${hostname} has no address`), [])
      if (options.all) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}
