import { type LookupAddress, type LookupOptions, lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { isPublicAddress } from '../parts/public-address.js'

type LookupAll = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

/**
 * A name lookup for connections that a stranger sends us on: it finds public addresses, or fails. As it is the
 * connection's own lookup, what was checked is what is connected to; a second answer of the name server changes nothing.
 */
export function publicLookup(resolve: LookupAll = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, [])
      const inside = addresses.find(({ address }) => !isPublicAddress(address))
      const [first] = addresses
      if (inside || !first) {
        const reason = inside ? `${inside.address}, which is no public address` : 'no address'
        return callback(new Error(`${hostname} is ${reason}`), [])
      }
      if (options.all) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}
