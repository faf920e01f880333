/** What is going on now, asked for at every scrape. All numbers of one moment; times in ms since 1970. */
export interface Vitals {
  readonly imagesListed: number
  readonly imagesHeld: number
  readonly imagesWithheld?: number | undefined
  readonly imagesPublished?: number | undefined
  readonly blobsKept: number
  readonly bytesKept: number
  readonly flights: readonly { readonly readers: number }[]
  readonly conflicts: readonly unknown[]
  readonly recompression?: { readonly waiting: number; readonly refused: readonly unknown[] } | undefined
  readonly imports?: readonly { readonly state: string }[] | undefined
  readonly prewarming?: readonly { readonly missingBytes: number; readonly isBehind: boolean | null }[] | undefined
  readonly jobsRunning?: number | undefined
  readonly ledger?: VitalsOfLedger | undefined
  readonly keeping: {
    readonly room: {
      readonly quotaBytes: number | undefined
      readonly usedBytes: number
      readonly pinnedBytes: number
      readonly evictableBytes: number
    }
    readonly scrub: { readonly oldestCheckMs: number | undefined; readonly isTooSlow: boolean } | undefined
    readonly lost: readonly unknown[]
    readonly damagedRecords?: readonly unknown[] | undefined
  }
  readonly bundles?: VitalsOfBundles | undefined
  readonly upstreams: readonly VitalsOfUpstream[]
}

interface VitalsOfBundles {
  readonly awaited: number
  readonly volumesMissing: number
  readonly imagesMissing: number
  readonly missingBytes: number
  readonly neverCame: number
}

interface VitalsOfLedger {
  readonly entries: number
  readonly waiting: number
  readonly lost: number
  readonly signedMs: number | undefined
}

export interface VitalsOfUpstream {
  readonly name: string
  readonly state: 'waiting' | 'reachable' | 'failing'
  readonly images: number
  readonly setAside?: readonly unknown[] | undefined
  readonly lastHeardMs: number | undefined
  readonly health?:
    | {
        readonly breaker: keyof typeof BREAKER_VALUES
        readonly rate: { readonly limit: number | 'unlimited' | 'closed' }
        readonly pullLimit?: { readonly limit: number | undefined; readonly remaining: number } | undefined
      }
    | undefined
}

/** A metric whose value is looked up at every scrape; `undefined` for one that there is not now. */
export interface GaugeOf<Subject> {
  /** Behind `imgapi_mirror_`. */
  readonly name: string
  readonly help: string
  readonly read: (subject: Subject) => number | undefined
}

const BREAKER_VALUES = { closed: 0, 'half-open': 0.5, open: 1 }

const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000)

export const MIRROR_GAUGES: readonly GaugeOf<Vitals>[] = [
  { name: 'images_listed', help: 'Images in the unfiltered list.', read: (v) => v.imagesListed },
  { name: 'images_held', help: 'Images whose files are all held.', read: (v) => v.imagesHeld },
  { name: 'images_withheld', help: 'Images kept from everybody as upstreams disagree.', read: (v) => v.imagesWithheld },
  { name: 'images_published', help: 'Images of our own, whatever their state.', read: (v) => v.imagesPublished },
  { name: 'blobs', help: 'Image files kept; images with the same file share one.', read: (v) => v.blobsKept },
  { name: 'blob_bytes', help: 'Bytes of image files kept.', read: (v) => v.bytesKept },
  { name: 'flights', help: 'Downloads under way.', read: (v) => v.flights.length },
  {
    name: 'flight_readers',
    help: 'Clients that wait for downloads under way.',
    read: (v) => v.flights.reduce((sum, { readers }) => sum + readers, 0),
  },
  { name: 'conflicts', help: 'Claims of upstreams that disagree.', read: (v) => v.conflicts.length },
  {
    name: 'recompressions_waiting',
    help: 'Images that are not listed before their layer was packed anew.',
    read: (v) => v.recompression?.waiting,
  },
  {
    name: 'remote_imports',
    help: 'Images being brought here because a client of IMGAPI asked for that.',
    read: (v) => v.imports?.filter(({ state }) => state === 'running').length,
  },
  {
    name: 'prewarm_missing_bytes',
    help: 'What prewarm policies still have to fetch.',
    read: (v) => v.prewarming?.reduce((sum, { missingBytes }) => sum + missingBytes, 0),
  },
  {
    name: 'prewarm_policies_behind',
    help: 'Prewarm policies that cannot keep their deadline.',
    read: (v) => v.prewarming?.filter(({ isBehind }) => isBehind).length,
  },
  { name: 'jobs', help: 'Long work of operators under way: imports, scrubs and the like.', read: (v) => v.jobsRunning },
  {
    name: 'quota_bytes',
    help: 'Room image files may take; absent without a quota.',
    read: (v) => v.keeping.room.quotaBytes,
  },
  {
    name: 'used_bytes',
    help: 'Room image files take, unfinished ones included.',
    read: (v) => v.keeping.room.usedBytes,
  },
  {
    name: 'pinned_bytes',
    help: 'Of what is kept: what does not leave to make room.',
    read: (v) => v.keeping.room.pinnedBytes,
  },
  { name: 'evictable_bytes', help: 'Of what is kept: what would leave.', read: (v) => v.keeping.room.evictableBytes },
  {
    name: 'lost_files',
    help: 'Files of held images, damaged and not had again yet.',
    read: (v) => v.keeping.lost.length,
  },
  {
    name: 'damaged_records',
    help: 'Records of images that were damaged at start: these images count as not held.',
    read: (v) => v.keeping.damagedRecords?.length,
  },
  {
    name: 'scrub_oldest_check_timestamp_seconds',
    help: 'When the file was last read that waits longest; absent without any, and when the scrub is off.',
    read: (v) => seconds(v.keeping.scrub?.oldestCheckMs),
  },
  {
    name: 'scrub_too_slow',
    help: '1: its rate is too low to read everything in time.',
    read: (v) => v.keeping.scrub && Number(v.keeping.scrub.isTooSlow),
  },
  { name: 'ledger_entries', help: 'Entries of the audit ledger.', read: (v) => v.ledger?.entries },
  {
    name: 'ledger_waiting_entries',
    help: 'Entries that are not written yet; many of them if the disk refuses.',
    read: (v) => v.ledger?.waiting,
  },
  {
    name: 'ledger_lost_entries',
    help: 'Entries lost since the start, as too many waited.',
    read: (v) => v.ledger?.lost,
  },
  {
    name: 'ledger_signed_timestamp_seconds',
    help: 'When a head of the ledger was last signed.',
    read: (v) => seconds(v.ledger?.signedMs),
  },
  { name: 'bundles_awaited', help: 'Bundles that have not come whole.', read: (v) => v.bundles?.awaited },
  {
    name: 'bundle_missing_volumes',
    help: 'Volumes of awaited bundles with bytes that are not here.',
    read: (v) => v.bundles?.volumesMissing,
  },
  {
    name: 'bundle_missing_images',
    help: 'Images of awaited bundles that are not here.',
    read: (v) => v.bundles?.imagesMissing,
  },
  { name: 'bundle_missing_bytes', help: 'What these images lack.', read: (v) => v.bundles?.missingBytes },
  { name: 'bundles_never_came', help: 'Bundles of series that never came.', read: (v) => v.bundles?.neverCame },
]

export const UPSTREAM_GAUGES: readonly GaugeOf<VitalsOfUpstream>[] = [
  {
    name: 'upstream_up',
    help: '1: answered last time. 0: failed, or not asked yet.',
    read: ({ state }) => Number(state === 'reachable'),
  },
  { name: 'upstream_images', help: 'Images it lists and we take.', read: ({ images }) => images },
  {
    name: 'upstream_set_aside_manifests',
    help: 'Manifests it lists that cannot be used; 100 for more.',
    read: ({ setAside }) => setAside?.length,
  },
  {
    name: 'upstream_last_heard_timestamp_seconds',
    help: 'When its catalogue was last heard; absent until it was.',
    read: ({ lastHeardMs }) => seconds(lastHeardMs),
  },
  {
    name: 'upstream_breaker_open',
    help: '1: failed too often and is not asked. 0.5: is being tried. 0: is asked.',
    read: ({ health }) => health && BREAKER_VALUES[health.breaker],
  },
  {
    name: 'upstream_rate_limit_bytes_per_second',
    help: 'How fast it may send to us now: 0 while its line is closed, absent when nothing limits it.',
    read: ({ health }) => {
      const limit = health?.rate.limit
      return limit === 'closed' ? 0 : limit === 'unlimited' ? undefined : limit
    },
  },
  {
    name: 'upstream_pulls_limit',
    help: 'How many manifests a Docker registry lets us have in its window; absent where it does not tell.',
    read: ({ health }) => health?.pullLimit?.limit,
  },
  {
    name: 'upstream_pulls_remaining',
    help: 'How many of them are left.',
    read: ({ health }) => health?.pullLimit?.remaining,
  },
]
