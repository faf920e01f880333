import { randomUUID } from 'node:crypto'
import { isMirrorError, MirrorError } from '../errors.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import type { Log } from '../parts/log.js'

export type JobState = 'running' | 'done' | 'failed' | 'cancelled'
export type JobItemState = 'waiting' | 'running' | 'done' | 'failed' | 'skipped'

/** One thing a job is about: an image, a file. */
export interface JobItem {
  readonly name: string
  readonly state: JobItemState
  /** `null` while nobody knows. */
  readonly sizeBytes: number | null
  readonly doneBytes: number
  /** What became of it, in words, where that is worth a word. */
  readonly note: string | null
}

/** Plain JSON. Times in ms since 1970; `null` is what is not so yet, or not known. */
export interface JobSummary {
  readonly id: Uuid
  /** In one word: import, verify, adopt... */
  readonly kind: string
  /** For people. */
  readonly title: string
  /** Who asked for it. */
  readonly by: string
  readonly state: JobState
  readonly startedMs: number
  readonly endedMs: number | null
  /** All there is to do, as soon as it is known. */
  readonly totalBytes: number | null
  readonly doneBytes: number
  /** Items there are, and how many of them have ended, well or badly. */
  readonly itemCount: number
  readonly itemsEnded: number
  readonly isCancellable: boolean
  /** Of one that failed. */
  readonly error: { readonly code: string; readonly message: string } | null
  /** Of one that is done: what it answered, as JSON. */
  readonly result: unknown
}

/** With its items; in an event, only those that have changed since the event before it. */
export interface JobDetails extends JobSummary {
  readonly items: readonly JobItem[]
}

export interface JobRequest {
  readonly kind: string
  readonly title: string
  readonly by: string
  /** Default true: `progress.signal` ends it. */
  readonly isCancellable?: boolean
}

/** What a job tells while it works. */
export interface JobProgress {
  /** Aborts when the job is cancelled, or the mirror closes. */
  readonly signal: AbortSignal
  /** All there is to do. Without it, the sizes of the items added up. */
  total(bytes: number): void
  /** Adds an item, or changes what is said of it: what is left out stays. */
  item(name: string, facts: Partial<Omit<JobItem, 'name'>>): void
}

export interface JobsOptions {
  readonly log: Log
  /** How many that have ended are remembered; the oldest are forgotten first. */
  readonly mostRemembered?: number
  readonly mostRunning?: number
}

const MOST_REMEMBERED = 100
const MOST_RUNNING = 64
/** Items beyond these are not told of. */
const MOST_ITEMS = 20_000
/** Who follows a job hears of it no more often than this, except of its end. */
const EVENT_INTERVAL_MS = 200

/**
 * Long work that operators ask for: it goes on when they leave, and can be looked at from anywhere. In memory: a restart
 * forgets jobs, so their work must be such that doing it again only does what is missing.
 */
export class Jobs {
  /** Oldest first. */
  readonly #jobs = new Map<Uuid, Job>()
  readonly #options: Required<JobsOptions>
  #isClosing = false

  constructor({ log, mostRemembered = MOST_REMEMBERED, mostRunning = MOST_RUNNING }: JobsOptions) {
    this.#options = { log, mostRemembered, mostRunning }
  }

  /**
   * Begins to work. What `work` answers becomes the job's result and must be JSON; what it throws, its error.
   * @throws MirrorError JOBS_FULL when too many are running already, CLOSING.
   */
  start(request: JobRequest, work: (progress: JobProgress) => Promise<unknown>): Job {
    const { log, mostRunning } = this.#options
    if (this.#isClosing) throw new MirrorError('CLOSING', 'the mirror is closing and begins nothing new')
    const running = [...this.#jobs.values()].filter(({ isOver }) => !isOver)
    if (running.length >= mostRunning) {
      throw new MirrorError('JOBS_FULL', `${running.length} jobs are running already; wait for one, or cancel one`)
    }
    const job = new Job(request, log)
    this.#jobs.set(job.id, job)
    log.info({ job: job.id, kind: request.kind, by: request.by }, `${request.title}: begun`)
    void job.run(work).then(() => this.#forgetOld())
    return job
  }

  /** Newest first. */
  list(): readonly JobSummary[] {
    return [...this.#jobs.values()].toReversed().map((job) => job.summary())
  }

  /** @throws MirrorError JOB_UNKNOWN. */
  find(id: string): Job {
    const uuid = parseUuid(id)
    const job = uuid && this.#jobs.get(uuid)
    if (!job) throw new MirrorError('JOB_UNKNOWN', `there is no job ${id}; ones that ended long ago are forgotten`)
    return job
  }

  /** Ends all of them, and waits for that. */
  async close(): Promise<void> {
    this.#isClosing = true
    const jobs = [...this.#jobs.values()]
    for (const job of jobs) job.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await Promise.all(jobs.map(({ ended }) => ended))
  }

  #forgetOld(): void {
    const ended = [...this.#jobs.values()].filter(({ isOver }) => isOver)
    for (const { id } of ended.slice(0, -this.#options.mostRemembered)) this.#jobs.delete(id)
  }
}

/** One piece of long work, and how far it is. */
export class Job {
  readonly id = randomUUID() as Uuid
  /** Resolves when it is over, however it ended. Never rejects. */
  readonly ended: Promise<void>
  readonly #over: Deferred<void> = deferred()
  readonly #request: JobRequest
  readonly #log: Log
  readonly #abort = new AbortController()
  readonly #items = new Map<string, JobItem>()
  readonly #followers = new Set<Follower>()
  readonly #startedMs = Date.now()
  #state: JobState = 'running'
  #endedMs: number | null = null
  #declaredBytes: number | null = null
  #itemBytes = 0
  #doneBytes = 0
  #itemsEnded = 0
  #error: JobSummary['error'] = null
  #result: unknown = null

  constructor(request: JobRequest, log: Log) {
    this.#request = request
    this.#log = log
    this.ended = this.#over.promise
  }

  get isOver(): boolean {
    return this.#state !== 'running'
  }

  summary(): JobSummary {
    const { kind, title, by, isCancellable = true } = this.#request
    return {
      id: this.id,
      kind,
      title,
      by,
      state: this.#state,
      startedMs: this.#startedMs,
      endedMs: this.#endedMs,
      totalBytes: this.#declaredBytes ?? (this.#items.size > 0 ? this.#itemBytes : null),
      doneBytes: this.#doneBytes,
      itemCount: this.#items.size,
      itemsEnded: this.#itemsEnded,
      isCancellable: isCancellable && !this.isOver,
      error: this.#error,
      result: this.#result,
    }
  }

  details(): JobDetails {
    return { ...this.summary(), items: [...this.#items.values()] }
  }

  /**
   * How it is now, with all its items; then again whenever it has moved, with those that changed; at last how it ended. A
   * slow listener misses what lies in between, and nothing else.
   */
  async *follow(signal: AbortSignal): AsyncGenerator<JobDetails> {
    const follower = new Follower()
    this.#followers.add(follower)
    try {
      yield this.details()
      let isTold = this.isOver
      while (!isTold && !signal.aborted) {
        await follower.moved(this.ended, signal)
        if (signal.aborted) return
        isTold = this.isOver
        const items = follower.take().flatMap((name) => this.#items.get(name) ?? [])
        yield { ...this.summary(), items }
      }
    } finally {
      this.#followers.delete(follower)
    }
  }

  /** @throws MirrorError JOB_OVER when it has ended already, or cannot be cancelled. */
  cancel(by: string): void {
    const { isCancellable = true, title } = this.#request
    if (this.isOver) throw new MirrorError('JOB_OVER', `job ${this.id} has ended already`)
    if (!isCancellable) throw new MirrorError('JOB_OVER', `job ${this.id} (${title}) cannot be cancelled`)
    this.#log.info({ job: this.id, by }, `${title}: cancelled by ${by}`)
    this.abort(new JobCancelled(`cancelled by ${by}`))
  }

  abort(reason: Error): void {
    this.#abort.abort(reason)
  }

  /** To be called once, by whoever keeps it. Never rejects. */
  async run(work: (progress: JobProgress) => Promise<unknown>): Promise<void> {
    const { kind, title } = this.#request
    const facts = { job: this.id, kind }
    try {
      this.#result = (await work(this.#progress())) ?? null
      this.#state = 'done'
      this.#log.info(facts, `${title}: done`)
    } catch (error) {
      const { reason } = this.#abort.signal as { reason: unknown }
      const isCancelled = reason instanceof JobCancelled
      this.#state = isCancelled ? 'cancelled' : 'failed'
      this.#error = isCancelled ? { code: 'JOB_CANCELLED', message: reason.message } : tellable(error)
      if (isMirrorError(error) || isCancelled) this.#log.warn({ ...facts, err: error }, `${title}: ${this.#state}`)
      else this.#log.error({ ...facts, err: error }, `${title}: failed unexpectedly`)
    }
    this.#endedMs = Date.now()
    this.#over.resolve()
  }

  #progress(): JobProgress {
    return {
      signal: this.#abort.signal,
      total: (bytes) => {
        this.#declaredBytes = bytes
        for (const follower of this.#followers) follower.wake()
      },
      item: (name, facts) => this.#setItem(name, facts),
    }
  }

  #setItem(name: string, facts: Partial<Omit<JobItem, 'name'>>): void {
    const before = this.#items.get(name)
    const item: JobItem = { ...NEW_ITEM, ...before, ...facts, name }
    if (!before && this.#items.size >= MOST_ITEMS) return
    this.#doneBytes += item.doneBytes - (before?.doneBytes ?? 0)
    this.#itemBytes += (item.sizeBytes ?? 0) - (before?.sizeBytes ?? 0)
    this.#itemsEnded += Number(hasEnded(item)) - Number(before !== undefined && hasEnded(before))
    this.#items.set(name, item)
    for (const follower of this.#followers) follower.note(name)
  }
}

const NEW_ITEM = { state: 'waiting', sizeBytes: null, doneBytes: 0, note: null } as const

class JobCancelled extends Error {
  override readonly name = 'JobCancelled'
}

/** What somebody who follows a job has not been told yet. At most the names of all items. */
class Follower {
  readonly #changed = new Set<string>()
  #wake: Deferred<void> = deferred()

  note(name: string): void {
    this.#changed.add(name)
    this.wake()
  }

  wake(): void {
    this.#wake.resolve()
  }

  take(): string[] {
    const names = [...this.#changed]
    this.#changed.clear()
    this.#wake = deferred()
    return names
  }

  /** Resolves when there is something to tell, a while after the last time; at once at the end. */
  async moved(ended: Promise<void>, signal: AbortSignal): Promise<void> {
    const left = deferred<void>()
    const leave = () => left.resolve()
    let timer: NodeJS.Timeout | undefined
    const pause = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, EVENT_INTERVAL_MS)
    })
    signal.addEventListener('abort', leave, { once: true })
    try {
      await Promise.race([ended, left.promise, Promise.all([pause, this.#wake.promise])])
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
    }
  }
}

function hasEnded({ state }: JobItem): boolean {
  return state === 'done' || state === 'failed' || state === 'skipped'
}

/** What is said of a bug is for the log. */
function tellable(error: unknown): { code: string; message: string } {
  if (isMirrorError(error)) return { code: error.code, message: error.message }
  return { code: 'INTERNAL', message: 'internal error; the log says more' }
}
