import { BlockList, isIP } from 'node:net'

export const NETWORK_FORM = 'an address or a network, such as 127.0.0.1, 10.0.0.0/8 or fd00::/8, or unix for sockets'

/** Whether `text` names an address, a network, or all unix sockets. */
export function isNetwork(text: string): boolean {
  return text === 'unix' || parse(text) !== undefined
}

/** Addresses of the other side of connections. */
export class AddressSet {
  readonly #list = new BlockList()
  readonly #hasUnix: boolean
  readonly #isEmpty: boolean

  /** @param networks each as `isNetwork` allows; others are left out. */
  constructor(networks: readonly string[]) {
    this.#hasUnix = networks.includes('unix')
    // Looking into a list costs, even into an empty one, and this is asked for every request.
    this.#isEmpty = networks.length === 0
    for (const network of networks) {
      const parsed = parse(network)
      if (parsed) this.#list.addSubnet(parsed.address, parsed.bits, parsed.family)
    }
  }

  /** @param address as a socket tells it; `undefined` for one that is no network socket. IPv4 may be written as IPv6. */
  has(address: string | undefined): boolean {
    if (this.#isEmpty) return false
    if (address === undefined) return this.#hasUnix
    const family = isIP(address)
    return family !== 0 && this.#list.check(address, family === 4 ? 'ipv4' : 'ipv6')
  }
}

function parse(text: string): { address: string; bits: number; family: 'ipv4' | 'ipv6' } | undefined {
  const [, address = '', prefix] = /^([0-9a-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) return undefined
  const longest = version === 4 ? 32 : 128
  const bits = prefix === undefined ? longest : Number(prefix)
  return bits <= longest ? { address, bits, family: version === 4 ? 'ipv4' : 'ipv6' } : undefined
}
