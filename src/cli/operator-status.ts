import type { BundlesStatus } from '../bundle/bundles.js'
import type { FlightStatus, MirrorStatus, UpstreamStatus } from '../mirror/mirror.js'
import type { PrewarmPolicyStatus } from '../mirror/operations/prewarm-answers.js'
import type { ApiClient } from './api-client.js'

/** What `/status` says, as far as commands show it. Times are ISO 8601 there. */
export interface OperatorStatus
  extends Pick<MirrorStatus, 'isOffline' | 'imagesListed' | 'imagesHeld' | 'blobsKept' | 'bytesKept'> {
  readonly upstreams: readonly UpstreamRow[]
  readonly flights: readonly FlightStatus[]
  readonly conflicts: readonly unknown[]
  /** Older mirrors do not say. */
  readonly prewarming?: readonly (Pick<
    PrewarmPolicyStatus,
    'name' | 'state' | 'images' | 'missingBytes' | 'isBehind'
  > & {
    readonly nextOpeningAt: string | null
  })[]
  /** Older mirrors do not say. */
  readonly ledgerDamaged?: number
  /** Older mirrors do not say. */
  readonly bundles?: BundlesStatus | null
  readonly keeping: {
    readonly room: {
      readonly quotaBytes: number | null
      readonly usedBytes: number
      readonly pinnedBytes: number
      readonly evictableBytes: number
      /** Older mirrors do not say these. */
      readonly freeBytes?: number | null
      readonly turnedAway?: { readonly at: string; readonly neededBytes: number; readonly freeBytes: number } | null
    }
    readonly scrub: {
      readonly oldestCheckAt: string | null
      readonly blobsRead: number
      readonly damageFound: number
      readonly isTooSlow: boolean
    } | null
    readonly lost: readonly { readonly uuid: string }[]
    /** Older mirrors do not say. */
    readonly damagedRecords?: readonly { readonly path: string }[]
  }
}

export interface UpstreamRow extends Pick<UpstreamStatus, 'name' | 'url' | 'state' | 'images' | 'setAside'> {
  readonly incomplete: string | null
  readonly lastError: string | null
  readonly lastHeardAt: string | null
  readonly health?: {
    readonly breaker: string
    readonly failures: number
    readonly nextProbeAt: string | null
    readonly rate: { readonly limit: number | string }
  }
}

export function getStatus(mirror: ApiClient): Promise<OperatorStatus> {
  return mirror.get<OperatorStatus>('/status')
}
