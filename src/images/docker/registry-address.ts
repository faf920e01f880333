import { MirrorError } from '../../errors.js'
import { brief } from '../../parts/json-object.js'
import { canonicalHost, DOCKER_HUB, isRegistryHost } from './reference.js'

/** Where a registry is. */
export interface RegistryAddress {
  /** As clients name it: `docker.io`, `quay.io`, `localhost:5000`. */
  readonly host: string
  /** Of its /v2/, without the slash at the end. `https://registry-1.docker.io` for Docker Hub. */
  readonly url: string
}

/** Where Docker Hub answers /v2/; the name it goes by does not (docker/docs, "Registry v2 API"). */
const DOCKER_HUB_URL = 'https://registry-1.docker.io'

/**
 * The registry that an operator names by host or url. Nothing may follow the host, but for Docker Hub's old address
 * `https://index.docker.io/v1/`, as it stands in many a config.json. https unless http:// is said.
 *
 * Source: joyent/node-docker-registry-client, lib/common.js, `parseIndex`; of Docker Hub we name the url that serves v2.
 *
 * @throws MirrorError QUERY_INVALID
 */
export function parseRegistryAddress(text: string): RegistryAddress {
  if (/^https:\/\/index\.docker\.io\/v1\/?$/.test(text)) return { host: DOCKER_HUB, url: DOCKER_HUB_URL }
  const [, scheme, named = ''] = /^(?:(.*?):\/\/)?(.*)$/s.exec(text) ?? []
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') {
    throw refusal(text, 'its scheme is neither http nor https')
  }
  const host = canonicalHost(named.endsWith('/') ? named.slice(0, -1) : named)
  if (host.includes('/')) throw refusal(text, 'a registry has no path')
  if (!isRegistryHost(host)) throw refusal(text, `${brief(host)} is no host`)
  // Without a scheme, a word is more likely a name of something else.
  if (scheme === undefined && !/[.:]/.test(host) && host !== 'localhost') {
    throw refusal(text, `${brief(host)} does not look like a host`)
  }
  if (host !== DOCKER_HUB) return { host, url: `${scheme ?? 'https'}://${host}` }
  if (scheme === 'http') throw refusal(text, 'Docker Hub speaks https only')
  return { host, url: DOCKER_HUB_URL }
}

function refusal(text: string, reason: string): MirrorError {
  return new MirrorError('QUERY_INVALID', `${brief(text)} is no Docker registry: ${reason}`)
}
