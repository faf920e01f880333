/** How far prewarming by one policy has come: enough to go on after a restart. Times in ms since 1970. */
export interface PrewarmRecord {
  /** Of the policy. */
  readonly name: string
  /** When what it may spend was last given to it, and how much of it is spent. */
  readonly budgetSinceMs: number
  readonly spentBytes: number
  readonly lastRun: PrewarmRun | undefined
}

/** What one run did for a policy. */
export interface PrewarmRun {
  readonly startedMs: number
  readonly endedMs: number
  readonly fetchedBytes: number
  readonly fetchedFiles: number
  readonly failedFiles: number
}

/** Where prewarming writes down what it has spent. Losing it costs that the budgets begin anew. */
export interface PrewarmStore {
  /** What was saved last; none when there is nothing. */
  load(): Promise<readonly PrewarmRecord[]>
  /** Replaces all. Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  save(records: readonly PrewarmRecord[]): Promise<void>
}
