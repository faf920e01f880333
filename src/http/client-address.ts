import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { AddressSet } from '../parts/address-set.js'

/**
 * Whose request it is: the other side of the connection, or, if that is a proxy that is believed, whom it says it asks for. Each
 * proxy adds to the end of the list whom it was asked by, so it is read from there, as long as who says it is believed:
 * what stands before that, anybody may have written.
 *
 * @returns an address, or `unix`.
 */
export function clientAddressOf(
  { headers, socket }: Pick<IncomingMessage, 'headers' | 'socket'>,
  proxies: AddressSet,
): string {
  let address = socket.remoteAddress
  const told = String(headers['x-forwarded-for'] ?? '').split(',')
  while (told.length > 0 && proxies.has(address)) {
    const before = addressIn(told.pop()!.trim())
    if (before === undefined) break
    address = before
  }
  return address ?? 'unix'
}

/** Some proxies add the port: `192.0.2.1:40000`, `[2001:db8::1]:40000`. */
function addressIn(text: string): string | undefined {
  const address = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text
  return isIP(address) === 0 ? undefined : address
}
