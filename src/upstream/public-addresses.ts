import { lookup as lookUp } from 'node:dns'
import { BlockList, isIPv6, type LookupFunction } from 'node:net'

/** Networks that are nobody else's business: this machine's own, the site's, and those of no use. */
const PRIVATE_NETWORKS = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
  ['::', 127],
  // Addresses that stand for IPv4 ones, and are not used between machines.
  ['::ffff:0:0', 96],
  ['64:ff9b::', 96],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const

/** One for each family: a list of both takes every IPv4 address for one of `::ffff:0:0/96`. */
const privateAddresses = { ipv4: new BlockList(), ipv6: new BlockList() }
for (const [network, prefix] of PRIVATE_NETWORKS) {
  const family = familyOf(network)
  privateAddresses[family].addSubnet(network, prefix, family)
}

/** Whether an IP address is one of a private network (RFC 6890 and its registries). */
export function isPrivateAddress(address: string): boolean {
  const family = familyOf(address)
  return privateAddresses[family].check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}

/**
 * Looks names up for a connection, and refuses one that leads to a private address, in whatever answer: who controls a name must not
 * lead us to the machines beside us. Addresses that are written as such are not looked up, and pass.
 */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookUp(hostname, { ...options, all: true }, (error, addresses) => {
    const own = error ? undefined : addresses.find(({ address }) => isPrivateAddress(address))
    const [first] = error ? [] : addresses
    const refusal = own && new Error(`${hostname} leads to ${own.address}, a private address`)
    if (error || refusal || !first) callback(error ?? refusal ?? new Error(`${hostname} has no address`), [])
    else if (options.all) callback(null, addresses)
    else callback(null, first.address, first.family)
  })
}
