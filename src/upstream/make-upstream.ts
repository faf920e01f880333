import { MirrorError } from '../errors.js'
import { systemClock } from '../parts/clock.js'
import { steadyPlan } from '../parts/rate-plan.js'
import { Bandwidth } from './bandwidth.js'
import { BundleUpstream } from './bundle/bundle.js'
import { DockerUpstream } from './docker/docker.js'
import { DsapiUpstream } from './dsapi.js'
import { GuardedUpstream, type UnguardedUpstream } from './guarded-upstream.js'
import { ImgapiUpstream } from './imgapi.js'
import { Line } from './line.js'
import { noUpstreamCounters } from './upstream-counters.js'
import type { UpstreamOptions } from './upstream-options.js'

export type { UpstreamOptions } from './upstream-options.js'

/** A new kind of upstream is one more file and one more line here. */
const KINDS: Record<UpstreamOptions['type'], new (options: UpstreamOptions, line: Line) => UnguardedUpstream> = {
  imgapi: ImgapiUpstream,
  dsapi: DsapiUpstream,
  docker: DockerUpstream,
  bundle: BundleUpstream,
}

/** @throws MirrorError CONFIG_INVALID for a url, certificates or proxies that cannot be used. */
export function makeUpstream(options: UpstreamOptions): GuardedUpstream {
  const { name, type, url, insecure, log } = options
  const isLocalBundle = type === 'bundle' && url.protocol === 'file:'
  if (url.protocol !== 'http:' && url.protocol !== 'https:' && !isLocalBundle) {
    throw new MirrorError('CONFIG_INVALID', `upstream ${name}: ${url.protocol} is neither http: nor https:`)
  }
  if (insecure) {
    log.warn(
      { upstream: name, url: url.origin },
      `${name}: certificates are NOT checked; anybody may pose as ${url.host}`,
    )
  }
  const { clock = systemClock, counters = noUpstreamCounters, random = Math.random } = options
  const unlimited = steadyPlan('unlimited')
  const bandwidth = new Bandwidth(`the line to ${name}`, options.rate ?? unlimited, clock)
  const totalBandwidth = options.totalBandwidth ?? new Bandwidth('the line', unlimited, clock)
  const line = new Line({ name, clock, counters, bandwidth, totalBandwidth })
  const upstream = new KINDS[type](options, line)
  return new GuardedUpstream(upstream, {
    clock,
    random,
    counters,
    bandwidth,
    quietMs: () => line.quietMs(new URL(upstream.url).origin),
  })
}
