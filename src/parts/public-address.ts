import { BlockList, isIP } from 'node:net'

/** Everything of IPv4 that is not for the public: IANA's special-purpose registry, multicast, and what is reserved. */
const NOT_PUBLIC_V4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
]
/** Of IPv6, what is global unicast: all else is local, multicast, a way of writing IPv4, or not assigned. */
const GLOBAL_V6: readonly [string, number] = ['2000::', 3]
/** What is not public within that: Teredo and 6to4 (which lead to any IPv4 address), ORCHID, documentation. */
const NOT_PUBLIC_V6: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]
/** Names that mean this machine or this network, whoever is asked for their address. */
const LOCAL_NAME = /^(?:[^.]*|.*\.(?:localhost|local|internal|intranet|lan|home\.arpa))\.?$/i

const notPublicV4 = listOf('ipv4', NOT_PUBLIC_V4)
const globalV6 = listOf('ipv6', [GLOBAL_V6])
const notPublicV6 = listOf('ipv6', NOT_PUBLIC_V6)

/** Whether an IP address is one of the public internet: not private, loopback, link-local, multicast or reserved. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !notPublicV4.check(address, 'ipv4')
    case 6:
      return !address.includes('%') && globalV6.check(address, 'ipv6') && !notPublicV6.check(address, 'ipv6')
    default:
      return false
  }
}

/**
 * Whether a url's host may be of the public internet: a public address, or a name that is not local by its form. What
 * such a name resolves to is another question.
 */
export function isPublicHost(hostname: string): boolean {
  const address = hostname.replace(/^\[(.*)\]$/, '$1')
  return isIP(address) === 0 ? !LOCAL_NAME.test(hostname) : isPublicAddress(address)
}

function listOf(family: 'ipv4' | 'ipv6', subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList()
  for (const [network, prefix] of subnets) list.addSubnet(network, prefix, family)
  return list
}
