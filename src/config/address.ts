/** For messages: what `isAddress` takes. */
export const ADDRESS_FORM =
  'an address such as 0.0.0.0:8080, [::1]:8080, mirror.example.com:8080 or unix:/path/to/socket'

const TCP = /^(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?):(?<port>\d{1,5})$/i
const UNIX = /^unix:[^\0]+$/

/** Whether we could listen there. Port 0 lets the system choose. */
export function isAddress(text: string): boolean {
  const port = TCP.exec(text)?.groups?.port
  return UNIX.test(text) || (port !== undefined && Number(port) <= 65_535)
}
