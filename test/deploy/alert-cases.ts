/** Series as promtool's unit tests write them: a minute lies between two samples. */
export type Series = Readonly<Record<string, string>>

/** When an alert fires, after `minutes`, and when it does not, though it looks like it. */
export interface AlertCase {
  readonly minutes: number
  readonly fires: Series
  readonly quiet: Series
}

const at = (labels = '') => `{instance="m",job="imgapi-mirror"${labels && `,${labels}`}}`
const ours = (name: string, labels = '') => `imgapi_mirror_${name}${at(labels)}`

export const ALERT_CASES: Readonly<Record<string, AlertCase>> = {
  ImgapiMirrorDown: { minutes: 5, fires: { [`up${at()}`]: '0x10' }, quiet: { [`up${at()}`]: '1 0 1x10' } },
  ImgapiMirrorNoUpstream: {
    minutes: 20,
    fires: { [ours('upstream_up', 'upstream="a"')]: '0x30', [ours('upstream_up', 'upstream="b"')]: '0x30' },
    quiet: { [ours('upstream_up', 'upstream="a"')]: '0x30', [ours('upstream_up', 'upstream="b"')]: '1x30' },
  },
  ImgapiMirrorCatalogueOld: {
    minutes: 7 * 60,
    fires: { [ours('upstream_last_heard_timestamp_seconds', 'upstream="a"')]: '0x500' },
    quiet: { [ours('upstream_last_heard_timestamp_seconds', 'upstream="a"')]: '0+60x500' },
  },
  ImgapiMirrorBreakerOpen: {
    minutes: 40,
    fires: { [ours('upstream_breaker_open', 'upstream="a"')]: '1x60' },
    quiet: { [ours('upstream_breaker_open', 'upstream="a"')]: '1x20 0.5 0x40' },
  },
  ImgapiMirrorWrongBytes: {
    minutes: 10,
    fires: { [ours('verification_failures_total', 'upstream="a"')]: '0x4 1x10' },
    quiet: { [ours('verification_failures_total', 'upstream="a"')]: '3x20' },
  },
  ImgapiMirrorDownloadsFail: {
    minutes: 30,
    fires: { [ours('flights_total', 'outcome="failed"')]: '0+1x40' },
    quiet: {
      [ours('flights_total', 'outcome="failed"')]: '0x10 1x30',
      [ours('flights_total', 'outcome="kept"')]: '0+9x40',
    },
  },
  ImgapiMirrorServerErrors: {
    minutes: 30,
    fires: {
      [ours('http_requests_total', 'status="503"')]: '0+1x40',
      [ours('http_requests_total', 'status="200"')]: '0+9x40',
    },
    quiet: {
      [ours('http_requests_total', 'status="503"')]: '0+1x40',
      [ours('http_requests_total', 'status="200"')]: '0+99x40',
    },
  },
  ImgapiMirrorConflicts: {
    minutes: 90,
    fires: { [ours('conflicts')]: '2x120' },
    quiet: { [ours('conflicts')]: '2x40 0x80' },
  },
  ImgapiMirrorImagesWithheld: {
    minutes: 30,
    fires: { [ours('images_withheld')]: '1x60' },
    quiet: { [ours('images_withheld')]: '0x60' },
  },
  ImgapiMirrorLostFiles: {
    minutes: 90,
    fires: { [ours('lost_files')]: '1x120' },
    quiet: { [ours('lost_files')]: '1x30 0x90' },
  },
  ImgapiMirrorDamage: {
    minutes: 30,
    fires: { [ours('damage_found_total', 'kind="blob"')]: '0x9 1x30' },
    quiet: { [ours('damage_found_total', 'kind="blob"')]: '7x60' },
  },
  ImgapiMirrorDamagedRecords: {
    minutes: 1,
    fires: { [ours('damaged_records')]: '1x5' },
    quiet: { [ours('damaged_records')]: '0x5' },
  },
  ImgapiMirrorNoRoom: {
    minutes: 30,
    fires: { [ours('flights_total', 'outcome="passed"')]: '0x9 1x30' },
    quiet: { [ours('flights_total', 'outcome="passed"')]: '5x60' },
  },
  ImgapiMirrorPinnedFull: {
    minutes: 90,
    fires: { [ours('pinned_bytes')]: '95x120', [ours('quota_bytes')]: '100x120' },
    // Without a quota there is nothing to fill.
    quiet: { [ours('pinned_bytes')]: '95x120' },
  },
  ImgapiMirrorScrubBehind: {
    minutes: 90,
    fires: { [ours('scrub_too_slow')]: '1x120' },
    quiet: { [ours('scrub_too_slow')]: '0x120', [ours('scrub_oldest_check_timestamp_seconds')]: '0x120' },
  },
  ImgapiMirrorRegistryLimit: {
    minutes: 10,
    fires: {
      [ours('upstream_pulls_remaining', 'upstream="hub"')]: '3x20',
      [ours('upstream_pulls_limit', 'upstream="hub"')]: '100x20',
    },
    quiet: {
      [ours('upstream_pulls_remaining', 'upstream="hub"')]: '60x20',
      [ours('upstream_pulls_limit', 'upstream="hub"')]: '100x20',
    },
  },
  ImgapiMirrorConfigRefused: {
    minutes: 10,
    fires: { [ours('config_last_reload_successful')]: '0x20' },
    quiet: { [ours('config_last_reload_successful')]: '0 0 1x20' },
  },
  ImgapiMirrorLedgerStuck: {
    minutes: 10,
    fires: { [ours('ledger_waiting_entries')]: '5000x20', [ours('ledger_lost_entries')]: '0x20' },
    quiet: { [ours('ledger_waiting_entries')]: '20x20', [ours('ledger_lost_entries')]: '0x20' },
  },
  ImgapiMirrorLedgerUnsigned: {
    minutes: 4 * 60,
    fires: { [ours('ledger_signed_timestamp_seconds')]: '0x300' },
    quiet: { [ours('ledger_signed_timestamp_seconds')]: '0x59 3600x59 7200x59 10800x100' },
  },
  ImgapiMirrorPrewarmBehind: {
    minutes: 45,
    fires: { [ours('prewarm_policies_behind')]: '1x60' },
    quiet: { [ours('prewarm_policies_behind')]: '1x10 0x40' },
  },
  ImgapiMirrorBundleAwaited: {
    minutes: 25 * 60,
    fires: { [ours('bundles_awaited')]: '1x1600', [ours('bundles_never_came')]: '0x1600' },
    quiet: { [ours('bundles_awaited')]: '1x1000 0x600', [ours('bundles_never_came')]: '0x1600' },
  },
  ImgapiMirrorSlow: {
    minutes: 30,
    fires: { [`nodejs_eventloop_lag_p99_seconds${at()}`]: '0.7x40' },
    quiet: { [`nodejs_eventloop_lag_p99_seconds${at()}`]: '0.02x40' },
  },
}
