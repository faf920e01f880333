import type { BundleImports, BundlesStatus } from '../../bundle/bundles.js'
import type {
  ImportStatus,
  KeepingStatus,
  Mirror,
  MirrorStatus,
  TurnedAway,
  UpstreamStatus,
} from '../../mirror/mirror.js'
import type { PrewarmPolicyStatus } from '../../mirror/operations/prewarm-answers.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** What is going on, for people and scripts. */
export async function status(context: Context, mirror: Mirror, imports?: Pick<BundleImports, 'status'>): Promise<void> {
  await sendJson(context, describeStatus(mirror.status(), imports?.status()), { cacheControl: 'no-store' })
}

/** Times are ISO 8601 and end in `At`; absent values are null. */
export function describeStatus(
  { upstreams, conflicts, keeping, imports = [], prewarming = [], ...rest }: MirrorStatus,
  bundles?: BundlesStatus,
) {
  return {
    ...rest,
    upstreams: upstreams.map(({ lastHeardMs, nextRefreshMs, incomplete, lastError, health, ...upstream }) => ({
      ...upstream,
      incomplete: incomplete ?? null,
      lastError: lastError ?? null,
      lastHeardAt: isoTime(lastHeardMs),
      nextRefreshAt: isoTime(nextRefreshMs),
      ...(health && { health: healthOf(health) }),
    })),
    conflicts: conflicts.map(({ firstSeenMs, ...conflict }) => ({ ...conflict, firstSeenAt: isoTime(firstSeenMs) })),
    keeping: keepingOf(keeping),
    prewarming: prewarming.map(prewarmOf),
    imports: imports.map(importOf),
    ...(bundles && { bundles }),
  }
}

/** A rate is in bytes per second, or one of the words `unlimited` and `closed`. */
function healthOf({
  nextProbeMs,
  quietUntilMs,
  canResume,
  rate,
  pullLimit,
  ...health
}: NonNullable<UpstreamStatus['health']>) {
  return {
    ...health,
    nextProbeAt: isoTime(nextProbeMs),
    quietUntilAt: isoTime(quietUntilMs),
    canResume: canResume ?? null,
    rate: { limit: rate.limit, untilAt: isoTime(rate.untilMs) },
    ...(pullLimit && {
      pullLimit: {
        limit: pullLimit.limit ?? null,
        remaining: pullLimit.remaining,
        untilAt: isoTime(pullLimit.untilMs),
      },
    }),
  }
}

function prewarmOf({ budget, deadlineMs, doneMs, lastRun, nextOpeningMs, ...policy }: PrewarmPolicyStatus) {
  return {
    ...policy,
    nextOpeningAt: isoTime(nextOpeningMs),
    doneAt: isoTime(doneMs),
    deadlineAt: isoTime(deadlineMs),
    budget: budget && { bytes: budget.bytes, spentBytes: budget.spentBytes, renewedAt: isoTime(budget.renewedMs) },
    lastRun: lastRun && lastRunOf(lastRun),
  }
}

function lastRunOf({ endedMs, startedMs, ...run }: NonNullable<PrewarmPolicyStatus['lastRun']>) {
  return { startedAt: isoTime(startedMs), endedAt: isoTime(endedMs), ...run }
}

function importOf({ current, startedMs, endedMs, error, ...rest }: ImportStatus) {
  return {
    ...rest,
    current: current ?? null,
    startedAt: isoTime(startedMs),
    endedAt: isoTime(endedMs),
    error: error ?? null,
  }
}

function keepingOf({ room, scrub, lost, damagedRecords }: KeepingStatus) {
  return {
    room: roomOf(room),
    scrub: scrub ? scrubOf(scrub) : null,
    lost,
    damagedRecords,
  }
}

function roomOf({ freeBytes, quotaBytes, turnedAway, ...room }: KeepingStatus['room']) {
  return {
    ...room,
    quotaBytes: quotaBytes ?? null,
    freeBytes: freeBytes ?? null,
    turnedAway: turnedAway ? turnedAwayOf(turnedAway) : null,
  }
}

function turnedAwayOf({ atMs, ...amounts }: TurnedAway) {
  return { at: isoTime(atMs), ...amounts }
}

function scrubOf({ oldestCheckMs, auditedMs, current, ...scrub }: NonNullable<KeepingStatus['scrub']>) {
  return {
    ...scrub,
    oldestCheckAt: isoTime(oldestCheckMs),
    auditedAt: isoTime(auditedMs),
    current: current ?? null,
  }
}

function isoTime(ms: number | undefined | null): string | null {
  return ms === undefined || ms === null ? null : new Date(ms).toISOString()
}
