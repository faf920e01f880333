import { isMirrorError, MirrorError } from '../../errors.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Clock } from '../../parts/clock.js'
import type { Log } from '../../parts/log.js'
import { isOpenAt, nextOpeningMs, openingHours } from '../../parts/opening-hours.js'
import type { PrewarmStore } from '../../store/prewarm-store.js'
import type { MirrorCounters } from '../counters.js'
import { keyOfFile } from '../flights.js'
import type { Job, JobProgress, Jobs } from '../jobs.js'
import type { FilePull } from '../pull-file.js'
import { BudgetAccount } from './budget-account.js'
import { makePlan, type Plan } from './plan.js'
import { inOrder, nameInLedger, type PrewarmPolicy } from './prewarm-policy.js'
import { type Fetch, type FetchTerms, firstToFetch, isLineOpen, type Lines } from './schedule.js'
import type { Survey, SurveyedFile, Wish } from './survey.js'

export interface PrewarmingOptions {
  readonly policies: readonly PrewarmPolicy[]
  readonly isOffline: boolean
  readonly store: PrewarmStore
  readonly jobs: Jobs
  readonly survey: (wishes: readonly Wish[], nowMs: number) => Promise<Survey>
  /** Has every upstream asked for its catalogue now. Never rejects. */
  readonly refresh: () => Promise<void>
  /** Asks upstreams for an image that nobody has told us of. */
  readonly find: (uuid: Uuid, signal: AbortSignal) => Promise<Manifest | undefined>
  readonly pull: (pull: FilePull) => Promise<void>
  /** Resolves when an image whose files are all here is written down as held, if it is to be. */
  readonly held: (manifest: Manifest) => Promise<void>
  /** Whether so many bytes more fit without anything leaving that is wanted. */
  readonly hasRoom: (sizeBytes: number) => Promise<boolean>
  readonly counters: Pick<MirrorCounters, 'prewarmed'>
  readonly clock: Clock
  readonly log: Log
}

/** How things stand with the images of all policies, as they were looked at last. */
export interface Standing {
  readonly survey: Survey
  readonly plan: Plan
}

/** What one run came to; by name of policy. */
interface RunResult {
  readonly policies: readonly {
    readonly name: string
    readonly fetchedBytes: number
    readonly fetchedFiles: number
    readonly failedFiles: number
  }[]
}

interface Run {
  readonly job: Job
  /** Policies that go on whether they are open or not: an operator wants it. */
  readonly forced: Set<string>
}

interface Tally {
  readonly startedMs: number
  fetchedBytes: number
  fetchedFiles: number
  failedFiles: number
}

/** How often it is looked whether there is something to do: windows open, and catalogues change. */
const LOOK_EVERY_MS = 20_000
/** How often what is spent is written down, so that a crash forgets no more than that. */
const SAVE_EVERY_MS = 5_000
/** A file that failed is left alone for a while; doubled with each failure in a row. */
const FIRST_RETRY_MS = 60_000
const LONGEST_RETRY_MS = 3_600_000
/** How often a run looks anew at how all of it stands. */
const STANDING_EVERY_MS = 60_000
/** Upstreams asked for origins that nobody has told us of, in one run. */
const MOST_ORIGINS_ASKED = 200
const ALWAYS = openingHours('UTC', [])

/**
 * Fetches what policies want, while they are open and have budget left: one file at a time, always the first that
 * `schedule` would begin at that moment, as flights of the lowest priority.
 *
 * It remembers nothing it could not do without: what is held and what is half here tells the next run, in this process
 * or a later one, where to go on. Only what is spent of the budgets is written down.
 */
export class Prewarming {
  readonly #options: PrewarmingOptions
  readonly #abort = new AbortController()
  readonly #accounts = new Map<string, BudgetAccount>()
  /** Images that were seen with all of their files, and written down as held. */
  readonly #complete = new Set<Uuid>()
  /** By key of the file: what failed, and when it is tried again. */
  readonly #failures = new Map<string, { readonly count: number; readonly retryMs: number }>()
  /** By name, of policies whose run was cancelled: they wait until then. */
  readonly #paused = new Map<string, number>()
  #policies: readonly PrewarmPolicy[]
  #open: ReadonlySet<string> = new Set()
  #standing: Standing | undefined
  #standingMs = Number.NEGATIVE_INFINITY
  #wanted: ReadonlySet<Uuid> = new Set()
  /** By key, of those images. */
  #wantedFiles: ReadonlySet<string> = new Set()
  #run: Run | undefined
  #sleep: AbortController | undefined
  #rounds: Promise<void> | undefined
  #savedMs = 0

  constructor(options: PrewarmingOptions) {
    this.#options = options
    this.#policies = inOrder(options.policies)
  }

  /** Brings back what was spent, and begins to look. */
  async start(): Promise<void> {
    const { clock, log, store } = this.#options
    try {
      for (const record of await store.load()) {
        this.#accounts.set(record.name, new BudgetAccount(record, clock.wallMs()))
      }
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
      log.error({ err: error }, 'what prewarming has spent cannot be read: its budgets begin anew')
    }
    await this.#takeStanding()
    this.#rounds = this.#goOn()
  }

  /** In the order of their turns. */
  get policies(): readonly PrewarmPolicy[] {
    return this.#policies
  }

  /** From now on; what is under way goes on if it is still wanted. */
  async replace(policies: readonly PrewarmPolicy[]): Promise<void> {
    this.#policies = inOrder(policies)
    this.#failures.clear()
    this.#paused.clear()
    await this.#takeStanding()
    this.#sleep?.abort()
  }

  /** The catalogue is another one, or what is kept: there may be something to do. */
  lookSoon(): void {
    this.#standingMs = Number.NEGATIVE_INFINITY
    this.#sleep?.abort()
  }

  /** Looks at how it stands now. */
  async lookAgain(): Promise<void> {
    await this.#takeStanding()
  }

  /** As it was looked at last; `undefined` without policies. */
  get standing(): Standing | undefined {
    return this.#standing
  }

  /** The run under way. */
  get job(): Job | undefined {
    return this.#run?.job
  }

  /** Whether its bytes come at this moment, or may be next. */
  isFetchingFor(policy: PrewarmPolicy): boolean {
    return this.#run !== undefined && this.#isOpen(policy, this.#options.clock.wallMs())
  }

  /** Whether an image is to be here, for itself or for what builds on it, and there is room for it. */
  isWanted(uuid: Uuid): boolean {
    return this.#wanted.has(uuid)
  }

  /** Whether a file is one of those images'. @param key as `keyOfFile` has it. */
  isWantedFile(key: string): boolean {
    return this.#wantedFiles.has(key)
  }

  account({ name }: PrewarmPolicy): BudgetAccount {
    const known = this.#accounts.get(name) ?? new BudgetAccount(undefined, this.#options.clock.wallMs())
    this.#accounts.set(name, known)
    return known
  }

  /** When a policy may fetch next, ms since 1970; now, if it may. `undefined` if that is not within two weeks. */
  nextOpeningMs(policy: PrewarmPolicy): number | undefined {
    const nowMs = this.#options.clock.wallMs()
    const pausedMs = this.#paused.get(policy.name) ?? 0
    const fromMs = Math.max(nowMs, pausedMs)
    return isOpenAt(policy.hours, fromMs) ? fromMs : nextOpeningMs(policy.hours, fromMs)
  }

  termsOf(policy: PrewarmPolicy, nowMs: number): FetchTerms {
    const { budget, deadline, hours } = policy
    return {
      hours: this.#run?.forced.has(policy.name) ? ALWAYS : hours,
      budget: budget && { ...budget, leftBytes: this.account(policy).leftBytes(policy, nowMs) },
      deadlineMs: deadline && nextOpeningMs(deadline, nowMs),
    }
  }

  /**
   * Runs these policies now, or all, whether they are open or not; their budgets hold. A run under way takes them up.
   * @throws MirrorError QUERY_INVALID for a policy that there is not; IMAGE_INCOMPLETE when offline; JOBS_FULL, CLOSING.
   */
  runNow(names: readonly string[] | undefined, by: string): Job {
    const unknown = names?.find((name) => !this.#policies.some((policy) => policy.name === name))
    if (unknown !== undefined) {
      throw new MirrorError('QUERY_INVALID', `there is no prewarm policy "${unknown.slice(0, 64)}"`)
    }
    if (this.#options.isOffline) throw new MirrorError('IMAGE_INCOMPLETE', 'this mirror is offline and fetches nothing')
    const forced = names ?? this.#policies.map(({ name }) => name)
    for (const name of forced) this.#paused.delete(name)
    this.#failures.clear()
    if (this.#run) {
      for (const name of forced) this.#run.forced.add(name)
      return this.#run.job
    }
    return this.#begin(forced, by)
  }

  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    // Runs are jobs, and end with those.
    await this.#run?.job.ended
    await this.#rounds
  }

  async #goOn(): Promise<void> {
    const { clock, log } = this.#options
    const { signal } = this.#abort
    while (!signal.aborted) {
      try {
        await this.#look()
      } catch (error) {
        if (!signal.aborted) log.error({ err: error }, 'prewarming could not look at what there is to do')
      }
      const sleep = new AbortController()
      this.#sleep = sleep
      await clock.pause(LOOK_EVERY_MS, AbortSignal.any([signal, sleep.signal])).catch(() => {})
    }
  }

  async #look(): Promise<void> {
    const { clock, isOffline, refresh } = this.#options
    if (this.#run) return await this.#run.job.ended
    if (this.#policies.length === 0) return
    if (isOffline) {
      // Nothing comes, but what is here may be lost.
      if (clock.steadyMs() - this.#standingMs >= STANDING_EVERY_MS) await this.#takeStanding()
      return
    }
    const nowMs = clock.wallMs()
    const open = new Set(this.#policies.filter((policy) => this.#isOpen(policy, nowMs)).map(({ name }) => name))
    const hasOpened = [...open].some((name) => !this.#open.has(name))
    this.#open = open
    // While a window was closed, the line may have been closed to catalogues too.
    if (hasOpened) await refresh()
    const isDue = hasOpened || clock.steadyMs() - this.#standingMs >= STANDING_EVERY_MS
    const survey = isDue ? await this.#takeStanding() : open.size > 0 && (await this.#survey())
    if (this.#run || !survey || !this.#first(survey)) return
    await this.#begin([], 'the configuration').ended
  }

  #isOpen({ hours, name }: PrewarmPolicy, nowMs: number): boolean {
    if (this.#run?.forced.has(name)) return true
    return isOpenAt(hours, nowMs) && nowMs >= (this.#paused.get(name) ?? 0)
  }

  #begin(forced: readonly string[], by: string): Job {
    const { jobs } = this.#options
    const job = jobs.start({ kind: 'prewarm', title: titleOf(forced), by }, (progress) => this.#work(progress))
    const run: Run = { job, forced: new Set(forced) }
    this.#run = run
    void job.ended.then(() => {
      if (this.#run === run) this.#run = undefined
      this.#sleep?.abort()
    })
    return job
  }

  async #work(progress: JobProgress): Promise<RunResult> {
    const { clock, find, log, refresh } = this.#options
    const { signal } = progress
    const tallies = new Map<string, Tally>()
    // What is begun in the same turn as the job is not yet known to have a run.
    await Promise.resolve()
    try {
      if (this.#run && this.#run.forced.size > 0) await refresh()
      await this.#learnOrigins(find, signal)
      this.#standingMs = Number.NEGATIVE_INFINITY
      for (;;) {
        signal.throwIfAborted()
        const survey = await this.#survey()
        if (clock.steadyMs() - this.#standingMs >= STANDING_EVERY_MS) {
          this.#takeStandingOf(survey)
          this.#tellItems(survey, progress)
        }
        const next = this.#first(survey)
        if (!next) break
        await this.#fetch(next.file, next.policy, survey.lines, tallies, progress)
      }
    } finally {
      if (signal.aborted && !this.#abort.signal.aborted) this.#pause()
      await this.#takeStanding().catch((error) => log.error({ err: error }, 'prewarming could not look at what it did'))
      for (const [name, tally] of tallies) {
        const account = this.#accounts.get(name)
        if (account) account.lastRun = { ...tally, endedMs: clock.wallMs() }
      }
      await this.#saveOrWarn()
    }
    return { policies: [...tallies].map(([name, { startedMs: _when, ...tally }]) => ({ name, ...tally })) }
  }

  /** Whoever cancels a run wants it to be over for this window, or for this day. */
  #pause(): void {
    const nowMs = this.#options.clock.wallMs()
    for (const policy of this.#policies) {
      if (!this.#isOpen(policy, nowMs)) continue
      this.#paused.set(policy.name, nextOpeningMs(policy.hours, nowMs) ?? nowMs + 86_400_000)
    }
  }

  /** Upstreams may have origins that they do not list. */
  async #learnOrigins(find: PrewarmingOptions['find'], signal: AbortSignal): Promise<void> {
    for (let asked = 0; asked < MOST_ORIGINS_ASKED; ) {
      const survey = await this.#survey()
      const missing = survey.goals.flatMap(({ images }) => images.flatMap(({ missingOrigin }) => missingOrigin ?? []))
      let found = 0
      for (const uuid of new Set(missing)) {
        signal.throwIfAborted()
        if (asked++ >= MOST_ORIGINS_ASKED) return
        try {
          if (await find(uuid, signal)) found++
        } catch (error) {
          if (!isMirrorError(error)) throw error
        }
      }
      // What was found may build on something unknown again.
      if (found === 0) return
    }
  }

  #survey(): Promise<Survey> {
    const nowMs = this.#options.clock.wallMs()
    const wishes = this.#policies.map((policy) => ({
      policy: policy.name,
      selection: policy,
      terms: this.termsOf(policy, nowMs),
    }))
    return this.#options.survey(wishes, nowMs)
  }

  async #takeStanding(): Promise<Survey | undefined> {
    if (this.#policies.length === 0) {
      this.#standing = undefined
      this.#wanted = new Set()
      this.#wantedFiles = new Set()
      return undefined
    }
    const survey = await this.#survey()
    this.#takeStandingOf(survey)
    await this.#writeDown(survey)
    return survey
  }

  /**
   * A crash may come between the last byte of an image and its record, and a file may have come for another image that has
   * the same: without a record, nothing is served while no upstream can be asked.
   */
  async #writeDown({ goals }: Survey): Promise<void> {
    const files = goals.flatMap(({ images }) => images.flatMap((image) => image.files))
    const incomplete = new Set(files.flatMap(({ manifest, missingBytes }) => (missingBytes > 0 ? [manifest.uuid] : [])))
    for (const { manifest } of files) {
      const { uuid } = manifest
      if (incomplete.has(uuid)) this.#complete.delete(uuid)
      if (incomplete.has(uuid) || this.#complete.has(uuid)) continue
      this.#complete.add(uuid)
      await this.#options.held(manifest)
    }
  }

  #takeStandingOf(survey: Survey): void {
    const plan = makePlan(survey)
    this.#standing = { survey, plan }
    this.#standingMs = this.#options.clock.steadyMs()
    const images = survey.goals.flatMap((goal) => goal.images)
    const files = plan.images.flatMap(({ outcome }, place) => (outcome === 'no room' ? [] : images[place]!.files))
    this.#wanted = new Set(files.map(({ manifest }) => manifest.uuid))
    this.#wantedFiles = new Set(files.map(({ fileIndex, manifest }) => keyOfFile(manifest, fileIndex)))
  }

  /** The file to fetch now, and for whom: of what fits, and did not fail just now. */
  #first(survey: Survey): { readonly file: SurveyedFile; readonly policy: PrewarmPolicy } | undefined {
    const nowMs = this.#options.clock.wallMs()
    const files = new Map<string, SurveyedFile>()
    const wanted: {
      readonly fetch: Fetch & { readonly files: readonly SurveyedFile[] }
      readonly policy: PrewarmPolicy
    }[] = []
    for (const { images, policy: name, terms } of survey.goals) {
      const policy = this.#policies.find((each) => each.name === name)
      if (!policy || !this.#isOpen(policy, nowMs)) continue
      for (const { files: all, obstacle, uuid } of images) {
        if (obstacle !== undefined || !this.#wanted.has(uuid)) continue
        const missing = all.filter(({ missingBytes }) => missingBytes > 0)
        if (missing.length === 0 || missing.some(({ key }) => this.#isLeftAlone(key, nowMs))) continue
        const shared = missing.map((file) => files.get(file.key) ?? file)
        for (const file of shared) files.set(file.key, file)
        wanted.push({ fetch: { files: shared, terms }, policy })
      }
    }
    const fetches = wanted.map(({ fetch }) => fetch)
    const place = firstToFetch(fetches, survey.lines, nowMs)
    if (place === undefined) return undefined
    const { fetch, policy } = wanted[place]!
    return { file: fetch.files[0]!, policy }
  }

  #isLeftAlone(key: string, nowMs: number): boolean {
    const failure = this.#failures.get(key)
    return failure !== undefined && nowMs < failure.retryMs
  }

  /** Ends when the file is here, has failed, or may not go on: its window is over, its budget spent, or it is another's turn. */
  async #fetch(
    { fileIndex, key, manifest, missingBytes, offeredBy, sizeBytes }: SurveyedFile,
    policy: PrewarmPolicy,
    lines: Lines,
    tallies: Map<string, Tally>,
    progress: JobProgress,
  ): Promise<void> {
    const { clock, counters, hasRoom, pull } = this.#options
    const { name } = policy
    const account = this.account(policy)
    const tally = tallies.get(name) ?? { startedMs: clock.wallMs(), fetchedBytes: 0, fetchedFiles: 0, failedFiles: 0 }
    tallies.set(name, tally)
    const item = fileIndex === 0 ? manifest.uuid : `${manifest.uuid}/${fileIndex}`
    const ending = new AbortController()
    const over = new AbortController()
    void this.#whenItsTurnIsOver(policy, over.signal).then(
      (reason) => ending.abort(reason),
      () => {},
    )
    let hereBytes = sizeBytes - missingBytes
    const onProgress = (doneBytes: number) => {
      const bytes = Math.max(0, doneBytes - hereBytes)
      hereBytes += bytes
      account.spend(bytes)
      tally.fetchedBytes += bytes
      counters.prewarmed(name, bytes)
      progress.item(item, { doneBytes: hereBytes })
      if (account.leftBytes(policy, clock.wallMs()) === 0) ending.abort(new Interrupted('its budget is spent'))
      if (clock.steadyMs() - this.#savedMs >= SAVE_EVERY_MS) {
        void this.#saveOrWarn()
      }
    }
    const about = { sizeBytes, doneBytes: hereBytes, note: `${manifest.name} ${manifest.version} (${name})` }
    progress.item(item, { state: 'running', ...about })
    try {
      if (!(await hasRoom(missingBytes))) {
        throw new MirrorError('STORE_FULL', 'there is no room for it beside what is wanted, pinned, or in use')
      }
      const signal = AbortSignal.any([progress.signal, ending.signal])
      await pull({ manifest, fileIndex, priority: 'background', by: nameInLedger(policy), signal, onProgress })
      tally.fetchedFiles++
      this.#failures.delete(key)
      progress.item(item, { state: 'done' })
    } catch (error) {
      progress.signal.throwIfAborted()
      if (!ending.signal.aborted && !isLineOpen(lines, offeredBy, clock.wallMs())) {
        ending.abort(new Interrupted('its line is closed'))
      }
      const { reason } = ending.signal as { reason: unknown }
      if (reason instanceof Interrupted) {
        progress.item(item, { state: 'waiting', note: `${about.note}: ${reason.message}` })
        return
      }
      if (!isMirrorError(error)) throw error
      tally.failedFiles++
      this.#leaveAlone(key, error)
      progress.item(item, { state: 'failed', note: error.message })
    } finally {
      over.abort()
    }
    await this.#saveOrWarn()
  }

  /**
   * Resolves when the policy may not go on, or one with an earlier turn may: that would have to wait for hours behind a large
   * file, though the plan says otherwise. Somebody may set the clock: it is looked at again and again.
   */
  async #whenItsTurnIsOver({ name }: PrewarmPolicy, signal: AbortSignal): Promise<Interrupted> {
    const { clock } = this.#options
    const mayFetch = (policy: PrewarmPolicy, nowMs: number) =>
      this.#isOpen(policy, nowMs) && this.account(policy).leftBytes(policy, nowMs) > 0
    for (let before: readonly string[] | undefined; ; await clock.pause(1_000, signal)) {
      const nowMs = clock.wallMs()
      // After a change of the configuration it may be another one of that name, or none.
      const place = this.#policies.findIndex((policy) => policy.name === name)
      if (place < 0 || !this.#isOpen(this.#policies[place]!, nowMs)) return new Interrupted('its window is over')
      const ahead = this.#policies.slice(0, place).filter((policy) => mayFetch(policy, nowMs))
      const names = ahead.map((policy) => policy.name)
      const opened = before && names.find((each) => !before!.includes(each))
      if (opened !== undefined) return new Interrupted(`it is the turn of ${opened}`)
      before = names
    }
  }

  #leaveAlone(key: string, error: MirrorError): void {
    const count = (this.#failures.get(key)?.count ?? 0) + 1
    const waitMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(count - 1, 10), LONGEST_RETRY_MS)
    const retryMs = this.#options.clock.wallMs() + Math.max(waitMs, error.retryAfterMs ?? 0)
    this.#failures.set(key, { count, retryMs })
  }

  /** What is to come, as items of the job. */
  #tellItems({ goals }: Survey, progress: JobProgress): void {
    for (const { images, policy } of goals) {
      for (const { files, uuid } of images) {
        if (!this.#wanted.has(uuid)) continue
        for (const { fileIndex, manifest, missingBytes, sizeBytes } of files) {
          if (missingBytes === 0) continue
          const item = fileIndex === 0 ? manifest.uuid : `${manifest.uuid}/${fileIndex}`
          const note = `${manifest.name} ${manifest.version} (${policy})`
          progress.item(item, { sizeBytes, doneBytes: sizeBytes - missingBytes, note })
        }
      }
    }
  }

  /** Never rejects: a crash then forgets what was spent since the last time. */
  async #saveOrWarn(): Promise<void> {
    const { clock, log, store } = this.#options
    this.#savedMs = clock.steadyMs()
    try {
      await store.save(this.#policies.map((policy) => this.account(policy).record(policy)))
    } catch (error) {
      log.warn({ err: error }, 'what prewarming has spent was not written down')
    }
  }
}

/** Why a file was left where it is: nothing is wrong with it. */
class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

function titleOf(forced: readonly string[]): string {
  return forced.length === 0 ? 'prewarming' : `prewarming by ${forced.join(', ')}, now`
}
