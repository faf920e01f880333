import type { Uuid } from '../../images/uuid.js'
import type { PrewarmRun } from '../../store/prewarm-store.js'
import type { Outcome } from '../prewarming/plan.js'

/*
 * What operators are told of prewarming. Plain JSON, as image-answers.ts: times in ms since 1970, sizes in bytes, `null` for what
 * is not so or not known.
 */

/** `GET /api/prewarm`. */
export interface PrewarmAnswer {
  /** In the order of their turns. */
  readonly policies: readonly PrewarmPolicyStatus[]
  /** The run under way: a job. */
  readonly job: Uuid | null
}

export interface PrewarmPolicyStatus {
  readonly name: string
  /**
   * `fetching`: a run is under way. `complete`: all of it is here. `short`: all of it is here that can be had and fits.
   * `waiting`: for its next window.
   * `spent`: its budget is. `held up`: it may fetch, but its line is closed, or what is missing failed a while ago.
   */
  readonly state: 'fetching' | 'complete' | 'short' | 'waiting' | 'spent' | 'held up' | 'offline'
  /** When it may fetch next; now, if it may. */
  readonly nextOpeningMs: number | null
  /** Images that are wanted for themselves, and how it stands with them. */
  readonly images: { readonly wanted: number } & Readonly<Record<OutcomeCount, number>>
  /** What is still to come. */
  readonly missingBytes: number
  /** When the last of it comes, at the configured rates; null when nothing is to come, or not within a year. */
  readonly doneMs: number | null
  readonly deadlineMs: number | null
  /** Whether something will not be here by the deadline; null without one. */
  readonly isBehind: boolean | null
  readonly budget: { readonly bytes: number; readonly spentBytes: number; readonly renewedMs: number | null } | null
  /** The last run that fetched anything for it. */
  readonly lastRun: PrewarmRun | null
}

type OutcomeCount = 'held' | 'comes' | 'late' | 'never' | 'noRoom' | 'notToBeHad'

/** `POST /api/plan`. */
export interface PlanAnswer {
  readonly atMs: number
  /** In the order in which they would be fetched for: what is worth most first. */
  readonly images: readonly PlannedImageAnswer[]
  readonly policies: readonly PlannedPolicy[]
  /** To be fetched, what several need once. */
  readonly fetchBytes: number
  /** When the last of it is here; null if that is not within a year. */
  readonly doneMs: number | null
  /** Whether every line has a rate: otherwise times say no more than when windows open. */
  readonly isTimed: boolean
  /** What would leave to make room, in that order. */
  readonly evicted: readonly {
    readonly uuid: Uuid | null
    readonly name: string
    readonly version: string
    readonly freedBytes: number
  }[]
  readonly evictedBytes: number
  /** How much image files may take. */
  readonly roomBytes: number
  /** What will not be as it is wished, in whole sentences. */
  readonly warnings: readonly string[]
}

export interface PlannedImageAnswer {
  readonly uuid: Uuid
  readonly name: string
  readonly version: string
  readonly policy: string
  readonly outcome: Outcome
  /** Images of its chain, itself included. */
  readonly chain: number
  /** What is to be fetched for it, and was not for one before it. */
  readonly fetchBytes: number
  readonly startMs: number | null
  readonly doneMs: number | null
  readonly why: string | null
}

export interface PlannedPolicy {
  readonly name: string
  readonly fetchBytes: number
  readonly doneMs: number | null
  readonly deadlineMs: number | null
  /** Whether everything that is wanted would be here by the deadline, or at all without one. */
  readonly isKept: boolean
}
