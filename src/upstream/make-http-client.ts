import { HttpClient, type HttpClientOptions } from './http-client.js'
import type { Line } from './line.js'
import type { UpstreamOptions } from './upstream-options.js'

/** @throws MirrorError CONFIG_INVALID for certificates or proxies that cannot be used. */
export function makeHttpClient(
  options: UpstreamOptions,
  line: Line,
  further: Pick<HttpClientOptions, 'authHosts' | 'isOpenToPublic'> = {},
): HttpClient {
  const { name, url, fileHosts, username, password, timeouts, connections, environment, version } = options
  const { ca, cert, key, insecure, isPublicOnly } = options
  return new HttpClient({
    name,
    origin: url.origin,
    fileHosts: fileHosts.map((origin) => new URL(origin).origin),
    username,
    password,
    tls: { ca, cert, key, insecure },
    isPublicOnly,
    timeouts,
    connections,
    environment,
    version,
    instance: options.instance,
    line,
    ...further,
  })
}
