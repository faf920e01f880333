import type { ImageSelection } from '../images/docker/image-selection.js'
import type { Platform } from '../images/docker/registry-manifest.js'
import type { Filter } from '../images/filter.js'
import type { Clock } from '../parts/clock.js'
import type { Log } from '../parts/log.js'
import type { RatePlan } from '../parts/rate-plan.js'
import type { Bandwidth } from './bandwidth.js'
import type { Environment } from './http-agents.js'
import type { TimeLimits } from './http-failure.js'
import type { RegistryMemory } from './registry-upstream.js'
import type { UpstreamCounters } from './upstream-counters.js'

/** Whose word is taken for bundles. */
export interface Trust {
  /** Names of the keys. */
  readonly names: readonly string[]
  /** Who signed; of a key that is not among these, who claims to have. `undefined` when the signature is not of this text. */
  verify(text: Uint8Array, signature: string): { readonly key: string; readonly isTrusted: boolean } | undefined
}

/** One upstream, as configured. */
export interface UpstreamOptions {
  readonly name: string
  readonly type: 'imgapi' | 'dsapi' | 'docker' | 'bundle'
  /** IMGAPI: the server, with a path if it has one, and perhaps `?channel=`. DSAPI: the address of the list. Docker: the registry, without a path. A bundle: the directory of a volume, also `file:`. */
  readonly url: URL
  /** IMGAPI only; wins over the url's. */
  readonly channel?: string | undefined
  /** Images must match one of these, if there are any, and none of `exclude`. */
  readonly include: readonly Filter[]
  readonly exclude: readonly Filter[]
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** PEM texts: who is believed instead of the well-known authorities, our certificate, its key. */
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  /** Believe any certificate. Said loudly in the log. */
  readonly insecure: boolean
  /** Go nowhere where a name leads to an address that is not public; see public-lookup.ts. */
  readonly isPublicOnly?: boolean | undefined
  readonly timeouts: TimeLimits
  /** Origins (`https://cdn.example.com`) besides the upstream's own that files may come from. */
  readonly fileHosts: readonly string[]
  /** Requests at the same time, downloads included; at least 1. */
  readonly connections: number
  /** Take files without any digest; they cannot be verified. */
  readonly allowMissingDigest: boolean
  /** Bundles only. Without it, nobody is trusted. */
  readonly trust?: Trust | undefined
  /** Take bundles that nobody we trust has signed. */
  readonly allowUntrusted?: boolean | undefined
  /** Docker only, all to the end of these. Which images to offer; without it, none. */
  readonly images?: readonly ImageSelection[] | undefined
  /** Of an image for several, which one. Without it, linux/amd64. */
  readonly platform?: Platform | undefined
  /** What Docker's own clients may pull through us: what `images` names, or anything. */
  readonly pull?: 'images' | 'any' | undefined
  /** Whether layers that imgadm cannot unpack (zstd) are made ones that it can, or set aside. */
  readonly recompress?: 'none' | 'gzip' | undefined
  /** The longest chain of images that is followed; Docker images of more layers are set aside. */
  readonly maxAncestry?: number | undefined
  /** Origins that may see credentials besides the registry's own: where its tokens come from. */
  readonly authHosts?: readonly string[] | undefined
  /** The text of Docker's config.json, with credentials for this registry; instead of `username` and `password`. */
  readonly dockerConfig?: string | undefined
  /** Where manifests and configs of the registry of that name (`docker.io`) are kept between runs. Without it, nothing is. */
  readonly registryMemory?: ((host: string) => RegistryMemory) | undefined
  readonly limits: {
    /** Of one whole listing, all its pages together, on the wire and decoded. */
    readonly listBytes: number
  }
  /** How fast its line may be used, and when. Without it, as fast as it goes. */
  readonly rate?: RatePlan | undefined
  /** Shared by all upstreams, if their lines are one in the end. */
  readonly totalBandwidth?: Bandwidth | undefined
  readonly counters?: UpstreamCounters | undefined
  /** Time and chance; without them, the real ones. */
  readonly clock?: Clock | undefined
  readonly random?: (() => number) | undefined
  /** Where proxies are looked up: http_proxy, https_proxy, no_proxy. */
  readonly environment: Environment
  readonly log: Log
  /** How we name ourselves to it; see HttpClient. */
  readonly instance?: string | undefined
  /** Of this program. */
  readonly version: string
}
