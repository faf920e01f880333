import { nextOpeningMs } from '../../parts/opening-hours.js'
import type { PrewarmRecord, PrewarmRun } from '../../store/prewarm-store.js'
import type { PrewarmPolicy } from './prewarm-policy.js'

/** Nothing repeats less often than weekly: what is older is over in any case. */
const LONGEST_SPAN_MS = 15 * 86_400_000

/** What a policy has spent of its budget, and what it did last. */
export class BudgetAccount {
  #sinceMs: number
  #spentBytes: number
  lastRun: PrewarmRun | undefined

  /** @param record from an earlier process. */
  constructor(record: PrewarmRecord | undefined, nowMs: number) {
    this.#sinceMs = record?.budgetSinceMs ?? nowMs
    this.#spentBytes = record?.spentBytes ?? 0
    this.lastRun = record?.lastRun
  }

  spend(bytes: number): void {
    this.#spentBytes += bytes
  }

  /** Of the budget that holds now. */
  spentBytes({ budget }: PrewarmPolicy, nowMs: number): number {
    if (!budget) return 0
    // Somebody has set the clock back: what was spent is still spent.
    this.#sinceMs = Math.min(this.#sinceMs, nowMs)
    let lookMs = Math.max(this.#sinceMs, nowMs - LONGEST_SPAN_MS)
    for (;;) {
      const renewalMs = nextOpeningMs(budget.renewal, lookMs)
      if (renewalMs === undefined || renewalMs > nowMs) break
      lookMs = renewalMs
      this.#sinceMs = renewalMs
      this.#spentBytes = 0
    }
    return this.#spentBytes
  }

  /** Without a budget nothing has an end, and what is spent is not asked. */
  leftBytes(policy: PrewarmPolicy, nowMs: number): number {
    return policy.budget ? Math.max(0, policy.budget.bytes - this.spentBytes(policy, nowMs)) : Number.POSITIVE_INFINITY
  }

  record({ name }: PrewarmPolicy): PrewarmRecord {
    return { name, budgetSinceMs: this.#sinceMs, spentBytes: this.#spentBytes, lastRun: this.lastRun }
  }
}
