import { describe, expect, it } from 'vitest'
import { Counters } from '../../src/telemetry/counters.js'

async function samples(counters: Counters): Promise<string[]> {
  const { body } = await counters.expose()
  return body.split('\n').filter((line) => line.startsWith('imgapi_mirror_') && !line.includes('_bucket'))
}

describe('the counters', () => {
  it('count requests, bytes and time by route', async () => {
    const counters = new Counters()
    counters.onRequest('/images/:uuid', 'GET', 200, 250, 1000)
    counters.onRequest('/images/:uuid', 'GET', 200, 250, 24)
    expect(await samples(counters)).toEqual(
      expect.arrayContaining([
        'imgapi_mirror_http_requests_total{route="/images/:uuid",method="GET",status="200"} 2',
        'imgapi_mirror_http_sent_bytes_total{route="/images/:uuid"} 1024',
        'imgapi_mirror_http_request_duration_seconds_sum{route="/images/:uuid"} 0.5',
      ]),
    )
  })

  it('do not grow with the words clients make up', async () => {
    const counters = new Counters()
    for (const method of ['BREW', 'WHEN', 'PROPFIND']) counters.onRequest('', method, 404, 1, 0)
    expect(await samples(counters)).toContain(
      'imgapi_mirror_http_requests_total{route="none",method="other",status="404"} 3',
    )
  })

  it('count what the mirror does, through functions that can be handed on alone', async () => {
    const counters = new Counters()
    const { bytesReceived, conflictFound, fileAsked, flightEnded, refreshed, verificationFailed } = counters
    fileAsked('miss')
    bytesReceived('smartos', 512)
    flightEnded('failed')
    verificationFailed('smartos')
    conflictFound()
    refreshed('smartos', 'unchanged')
    expect(await samples(counters)).toEqual(
      expect.arrayContaining([
        'imgapi_mirror_files_asked_total{outcome="miss"} 1',
        'imgapi_mirror_upstream_received_bytes_total{upstream="smartos"} 512',
        'imgapi_mirror_flights_total{outcome="failed"} 1',
        'imgapi_mirror_verification_failures_total{upstream="smartos"} 1',
        'imgapi_mirror_conflicts_found_total 1',
        'imgapi_mirror_refreshes_total{upstream="smartos",outcome="unchanged"} 1',
      ]),
    )
  })

  it('count what upstreams count', async () => {
    const counters = new Counters()
    const { breakerTurned, notAsked, retried, stalled, waitedForRate } = counters
    breakerTurned('smartos', 'open')
    breakerTurned('smartos', 'half-open')
    stalled('smartos')
    notAsked('smartos', 'closed')
    retried('smartos')
    waitedForRate('smartos', 1.5)
    waitedForRate('smartos', 2)
    expect(await samples(counters)).toEqual(
      expect.arrayContaining([
        'imgapi_mirror_upstream_breaker_opened_total{upstream="smartos"} 1',
        'imgapi_mirror_upstream_stalls_total{upstream="smartos"} 1',
        'imgapi_mirror_upstream_not_asked_total{upstream="smartos",reason="closed"} 1',
        'imgapi_mirror_upstream_retries_total{upstream="smartos"} 1',
        'imgapi_mirror_upstream_rate_wait_seconds_total{upstream="smartos"} 3.5',
      ]),
    )
  })

  it('ask for the state of things at every scrape', async () => {
    const counters = new Counters()
    let imagesListed = 5
    counters.watch(() => ({
      imagesListed,
      imagesHeld: 2,
      blobsKept: 1,
      bytesKept: 99,
      flights: [{ readers: 3 }],
      conflicts: [],
      keeping: {
        room: { quotaBytes: 1000, usedBytes: 99, pinnedBytes: 40, evictableBytes: 59 },
        scrub: { oldestCheckMs: 2000, isTooSlow: false },
        lost: [{}],
      },
      upstreams: [
        {
          ...{ name: 'a', state: 'reachable', images: 4, lastHeardMs: 1000 },
          health: { breaker: 'half-open', rate: { limit: 'closed' }, pullLimit: { limit: 100, remaining: 7 } },
        },
        { name: 'b', state: 'failing', images: 0, lastHeardMs: undefined },
      ],
    }))
    expect(await samples(counters)).toContain('imgapi_mirror_images_listed 5')
    imagesListed = 6
    expect(await samples(counters)).toEqual(
      expect.arrayContaining([
        'imgapi_mirror_images_listed 6',
        'imgapi_mirror_flights 1',
        'imgapi_mirror_flight_readers 3',
        'imgapi_mirror_upstream_breaker_open{upstream="a"} 0.5',
        'imgapi_mirror_upstream_rate_limit_bytes_per_second{upstream="a"} 0',
        'imgapi_mirror_upstream_pulls_remaining{upstream="a"} 7',
        'imgapi_mirror_quota_bytes 1000',
        'imgapi_mirror_used_bytes 99',
        'imgapi_mirror_pinned_bytes 40',
        'imgapi_mirror_evictable_bytes 59',
        'imgapi_mirror_lost_files 1',
        'imgapi_mirror_scrub_oldest_check_timestamp_seconds 2',
        'imgapi_mirror_scrub_too_slow 0',
        'imgapi_mirror_upstream_up{upstream="a"} 1',
        'imgapi_mirror_upstream_up{upstream="b"} 0',
        'imgapi_mirror_upstream_last_heard_timestamp_seconds{upstream="a"} 1',
      ]),
    )
  })

  it('say nothing of what there is not', async () => {
    const counters = new Counters('1.2.3')
    expect((await samples(counters)).filter((line) => !/_total|_info|_successful/.test(line))).toEqual([])
    expect(await samples(counters)).toContain('imgapi_mirror_build_info{version="1.2.3"} 1')
  })

  it('watch the event loop', async () => {
    const { body, contentType } = await new Counters().expose()
    expect(body).toContain('nodejs_eventloop_lag_p99_seconds')
    expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/)
  })
})
