import { MirrorError } from '../../errors.js'
import { nextOpeningMs, openingHours } from '../../parts/opening-hours.js'
import { capped, type RatePlan } from '../../parts/rate-plan.js'
import { sumOf } from '../../parts/sum-of.js'
import type { Catalogue } from '../catalogue.js'
import type { JobSummary } from '../jobs.js'
import type { Departure } from '../keeping/eviction-plan.js'
import type { Room } from '../keeping/room.js'
import { makePlan, type Outcome, type Plan, type PlannedImage } from '../prewarming/plan.js'
import type { PrewarmPolicy } from '../prewarming/prewarm-policy.js'
import type { Prewarming } from '../prewarming/prewarming.js'
import type { Lines } from '../prewarming/schedule.js'
import type { Survey, Surveyor, Wish } from '../prewarming/survey.js'
import type { Selection } from '../prewarming/wanted-images.js'
import type { Operator } from './operations.js'
import { warningsOf } from './plan-warnings.js'
import type { PlanAnswer, PlannedPolicy, PrewarmAnswer, PrewarmPolicyStatus } from './prewarm-answers.js'

export interface PrewarmsOptions {
  readonly prewarming: Prewarming
  readonly surveyor: Surveyor
  readonly room: Room
  readonly catalogue: Catalogue
  readonly isOffline: boolean
  /** Ms since 1970. */
  readonly now: () => number
}

export interface PlanQuery {
  /** Of these policies; of all, without it. */
  readonly policies?: readonly string[] | undefined
  /** Instead: as if there were only this policy, always open, without a budget. */
  readonly selection?: Selection | undefined
  /** As if no line were faster than so many bytes per second. */
  readonly rate?: number | undefined
}

/** How an ad-hoc selection is called. */
const ASKED = 'as asked'
const ALWAYS = openingHours('UTC', [])

/** What operators ask of prewarming, and have it do. */
export class Prewarms {
  readonly #options: PrewarmsOptions

  constructor(options: PrewarmsOptions) {
    this.#options = options
  }

  /** How it stands with all policies, now. */
  async show(): Promise<PrewarmAnswer> {
    await this.#options.prewarming.lookAgain()
    return this.status()
  }

  /** The same as it was looked at within the last minute or so. */
  status(): PrewarmAnswer {
    const { prewarming } = this.#options
    const { policies, standing } = prewarming
    return {
      policies: policies.map((policy) => this.#statusOf(policy, standing?.plan)),
      job: prewarming.job?.id ?? null,
    }
  }

  /** @throws MirrorError as Prewarming.runNow. */
  runNow(policies: readonly string[] | undefined, { name: by }: Operator): JobSummary {
    return this.#options.prewarming.runNow(policies, by).summary()
  }

  /** What would be fetched, and by when. Nothing moves. @throws MirrorError QUERY_INVALID for a policy that there is not. */
  async plan({ policies, rate, selection }: PlanQuery): Promise<PlanAnswer> {
    const { now, prewarming, room, surveyor } = this.#options
    const nowMs = now()
    const unknown = policies?.find((name) => !prewarming.policies.some((policy) => policy.name === name))
    if (unknown !== undefined) {
      throw new MirrorError('QUERY_INVALID', `there is no prewarm policy "${unknown.slice(0, 64)}"`)
    }
    const chosen = prewarming.policies.filter(({ name }) => policies?.includes(name) ?? true)
    const wishes: Wish[] = selection
      ? [{ policy: ASKED, selection, terms: { hours: ALWAYS, budget: undefined, deadlineMs: undefined } }]
      : chosen.map((policy) => ({ policy: policy.name, selection: policy, terms: prewarming.termsOf(policy, nowMs) }))
    const found = await surveyor.survey(wishes, nowMs)
    const survey = { ...found, lines: cappedLines(found.lines, rate) }
    const plan = makePlan(survey)
    const images = survey.goals.flatMap((goal) => goal.images)
    const coming = new Set(
      plan.images.flatMap(({ outcome }, place) =>
        outcome === 'no room' ? [] : images[place]!.files.map(({ manifest }) => manifest.uuid),
      ),
    )
    const departures = await room.whatWouldLeaveFor(
      plan.fetchBytes,
      (uuid) => coming.has(uuid) || prewarming.isWanted(uuid),
    )
    const evicted = departures.map((departure) => this.#describeDeparture(departure))
    const evictedBytes = sumOf(evicted.map(({ freedBytes }) => freedBytes))
    const isTimed = plan.fetchBytes === 0 || hasRates(survey)
    const told = {
      atMs: nowMs,
      images: plan.images.map((planned, place) => {
        const { manifest, files } = images[place]!
        const { doneMs, startMs, why, ...facts } = planned
        const { name, version } = manifest
        const chain = new Set(files.map((file) => file.manifest.uuid)).size
        return { ...facts, name, version, chain, startMs: whole(startMs), doneMs: whole(doneMs), why: why ?? null }
      }),
      policies: survey.goals.map(({ policy, terms }) => policyOf(policy, terms.deadlineMs, plan)),
      fetchBytes: plan.fetchBytes,
      doneMs: whole(plan.doneMs),
      isTimed,
      evicted,
      evictedBytes,
      roomBytes: survey.roomBytes ?? Number.MAX_SAFE_INTEGER,
    }
    return { ...told, warnings: warningsOf(told) }
  }

  #statusOf(policy: PrewarmPolicy, plan: Plan | undefined): PrewarmPolicyStatus {
    const { isOffline, now, prewarming } = this.#options
    // Asked before the clock: one that is open is so since a moment that has passed.
    const openingMs = prewarming.nextOpeningMs(policy)
    const nowMs = now()
    const images = plan?.images.filter((image) => image.policy === policy.name) ?? []
    const count = (...outcomes: readonly Outcome[]) => images.filter(({ outcome }) => outcomes.includes(outcome)).length
    const account = prewarming.account(policy)
    const toCome = images.filter(({ outcome }) => outcome === 'comes' || outcome === 'late' || outcome === 'never')
    const deadlineMs = policy.deadline && nextOpeningMs(policy.deadline, nowMs)
    const { budget } = policy
    const isOpen = openingMs !== undefined && openingMs <= nowMs
    const state = (): PrewarmPolicyStatus['state'] => {
      if (isOffline) return 'offline'
      if (toCome.length === 0) return count('held') < images.length ? 'short' : 'complete'
      if (prewarming.isFetchingFor(policy)) return 'fetching'
      if (!isOpen) return 'waiting'
      return account.leftBytes(policy, nowMs) === 0 ? 'spent' : 'held up'
    }
    return {
      name: policy.name,
      state: state(),
      nextOpeningMs: openingMs ?? null,
      images: {
        wanted: images.length,
        held: count('held'),
        comes: count('comes'),
        late: count('late'),
        never: count('never'),
        noRoom: count('no room'),
        notToBeHad: count('not to be had'),
      },
      missingBytes: sumOf(toCome.map(({ fetchBytes }) => fetchBytes)),
      doneMs: whole(lastOf(toCome)),
      deadlineMs: deadlineMs ?? null,
      isBehind: deadlineMs === undefined ? null : count('late', 'never') > 0,
      budget: budget
        ? {
            bytes: budget.bytes,
            spentBytes: account.spentBytes(policy, nowMs),
            renewedMs: nextOpeningMs(budget.renewal, nowMs) ?? null,
          }
        : null,
      lastRun: account.lastRun ?? null,
    }
  }

  #describeDeparture({ sizeBytes: freedBytes, uuid, why }: Departure): PlanAnswer['evicted'][number] {
    const manifest = uuid && this.#options.catalogue.find(uuid)
    return { uuid: uuid ?? null, name: manifest?.name ?? why, version: manifest?.version ?? '', freedBytes }
  }
}

function policyOf(name: string, deadlineMs: number | undefined, plan: Plan): PlannedPolicy {
  const images = plan.images.filter(({ policy }) => policy === name)
  const isMissed = ({ outcome }: PlannedImage) => outcome !== 'held' && outcome !== 'comes'
  return {
    name,
    fetchBytes: sumOf(images.map(({ fetchBytes }) => fetchBytes)),
    doneMs: whole(
      lastOf(images.filter(({ outcome }) => outcome === 'comes' || outcome === 'late' || outcome === 'never')),
    ),
    deadlineMs: deadlineMs ?? null,
    isKept: !images.some(isMissed),
  }
}

/** `undefined` if one of them is never done, or there are none. */
function lastOf(images: readonly PlannedImage[]): number | undefined {
  const times = images.map(({ doneMs }) => doneMs ?? Number.POSITIVE_INFINITY)
  const lastMs = Math.max(...times)
  return Number.isFinite(lastMs) ? lastMs : undefined
}

function cappedLines({ total, upstreams }: Lines, rate: number | undefined): Lines {
  return rate === undefined ? { total, upstreams } : { total: capped(total, rate), upstreams }
}

/** Whether bytes take their time, whenever and from whomever they come. */
function hasRates({ goals, lines }: Survey): boolean {
  const isLimited = ({ otherwise, windows }: RatePlan) =>
    otherwise !== 'unlimited' && windows.every(({ limit }) => limit !== 'unlimited')
  const used = new Set(
    goals.flatMap(({ images }) => images.flatMap(({ files }) => files.flatMap((file) => file.offeredBy))),
  )
  return isLimited(lines.total) || [...used].every((name) => isLimited(lines.upstreams.get(name)!))
}

function whole(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.ceil(ms)
}
