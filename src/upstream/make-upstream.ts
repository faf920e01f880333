import { MirrorError } from '../errors.js'
import { DsapiUpstream } from './dsapi.js'
import { ImgapiUpstream } from './imgapi.js'
import type { Upstream } from './upstream.js'
import type { UpstreamOptions } from './upstream-options.js'

export type { UpstreamOptions } from './upstream-options.js'

/** A new kind of upstream is one more file and one more line here. */
const KINDS: Record<UpstreamOptions['type'], new (options: UpstreamOptions) => Upstream> = {
  imgapi: ImgapiUpstream,
  dsapi: DsapiUpstream,
}

/** @throws MirrorError CONFIG_INVALID for a url, certificates or proxies that cannot be used. */
export function makeUpstream(options: UpstreamOptions): Upstream {
  const { name, type, url, insecure, log } = options
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new MirrorError('CONFIG_INVALID', `upstream ${name}: ${url.protocol} is neither http: nor https:`)
  }
  if (insecure) {
    log.warn(
      { upstream: name, url: url.origin },
      `${name}: certificates are NOT checked; anybody may pose as ${url.host}`,
    )
  }
  return new KINDS[type](options)
}
