import type { Readable } from 'node:stream'
import { isMirrorError, MirrorError } from '../errors.js'
import { systemClock } from '../parts/clock.js'
import { steadyPlan } from '../parts/rate-plan.js'
import { Bandwidth } from './bandwidth.js'
import type { Answer } from './http-client.js'
import { Line } from './line.js'
import { makeHttpClient } from './make-http-client.js'
import { noUpstreamCounters } from './upstream-counters.js'
import type { UpstreamOptions } from './upstream-options.js'

/** Everything is an answer, redirects too: none is followed. */
const ALL_STATUSES = Array.from({ length: 400 }, (_, index) => 200 + index)

/**
 * Gets the file at `options.url`, unencoded. The connection is closed with `body`, which the caller ends.
 *
 * @throws MirrorError DOWNLOAD_REFUSED for any status but 200 and when there is no answer; the signal's reason.
 */
export async function openUrl(
  options: UpstreamOptions,
  signal: AbortSignal,
): Promise<{ readonly body: Readable; readonly sizeBytes: number | undefined }> {
  const { clock = systemClock, counters = noUpstreamCounters, name, url } = options
  const unlimited = steadyPlan('unlimited')
  const bandwidth = new Bandwidth(`the line to ${name}`, options.rate ?? unlimited, clock)
  const totalBandwidth = options.totalBandwidth ?? new Bandwidth('the line', unlimited, clock)
  const client = makeHttpClient(options, new Line({ name, clock, counters, bandwidth, totalBandwidth }))
  try {
    const answer = await client.ask(url, { kind: 'file', statuses: ALL_STATUSES, signal })
    const sizeBytes = checkAnswer(answer)
    answer.body.once('close', () => void client.close())
    return { body: answer.body, sizeBytes }
  } catch (error) {
    await client.close()
    signal.throwIfAborted()
    if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
    throw new MirrorError('DOWNLOAD_REFUSED', `Error getting image: ${error.message}`, { cause: error })
  }
}

/** Answers its length, if it says one. */
function checkAnswer({ status, header }: Answer): number | undefined {
  if (status !== 200) {
    throw new MirrorError('DOWNLOAD_REFUSED', `HTTP ${status} error attempting to download image`)
  }
  const encoding = header('content-encoding')
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new MirrorError('DOWNLOAD_REFUSED', 'Error getting image: it is sent in an encoding')
  }
  const length = header('content-length')
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined
}
