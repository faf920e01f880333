import { onTestFinished } from 'vitest'
import { MirrorError } from '../../../src/errors.js'
import type { Manifest } from '../../../src/images/manifest.js'
import { Jobs } from '../../../src/mirror/jobs.js'
import type { PrewarmPolicy } from '../../../src/mirror/prewarming/prewarm-policy.js'
import { Prewarming } from '../../../src/mirror/prewarming/prewarming.js'
import type { Survey, SurveyedFile } from '../../../src/mirror/prewarming/survey.js'
import type { FilePull } from '../../../src/mirror/pull-file.js'
import { openingHours } from '../../../src/parts/opening-hours.js'
import { limitAt, type RatePlan, steadyPlan } from '../../../src/parts/rate-plan.js'
import { parseWeeklyWindow } from '../../../src/parts/weekly-window.js'
import type { PrewarmRecord, PrewarmStore } from '../../../src/store/prewarm-store.js'
import { image, uuid } from '../../images/manifests.js'
import { FakeClock } from '../../support/fake-clock.js'
import { RecordingLog } from '../../support/recording-log.js'

export const MB = 1e6
export const GB = 1e9
const RATE = MB
/** Every so often a piece arrives. */
const PIECE_MS = 5_000

export const hours = (timezone: string, ...windows: string[]) =>
  openingHours(
    timezone,
    windows.map((text) => parseWeeklyWindow(text)!),
  )

export function policy(name: string, more: Partial<PrewarmPolicy> = {}): PrewarmPolicy {
  const nothing = { match: [], exclude: [], channels: [], docker: [], by: 'version', budget: undefined } as const
  return { ...nothing, name, hours: hours('UTC'), deadline: undefined, priority: 0, ...more }
}

/** One file, on its way to be here. */
interface Arriving {
  readonly manifest: Manifest
  readonly sizeBytes: number
  hereBytes: number
}

/** When which bytes of a file came, in one go. */
interface Arrival {
  readonly number: number
  readonly from: string
  readonly fromBytes: number
  to: string
  toBytes: number
}

export interface World {
  readonly start: string
  readonly policies: readonly PrewarmPolicy[]
  /** By number of the image. */
  readonly sizes: Readonly<Record<number, number>>
  /** By policy, the images it wants: each with its chain, base first. */
  readonly wanted: Readonly<Record<string, readonly (readonly number[])[]>>
  /** Of the line; unlimited without it. */
  readonly total?: RatePlan
  /** Whether there is room for another file, as it is at that moment. */
  readonly hasRoom?: () => boolean
  /** Images whose files cannot be had. */
  readonly broken?: readonly number[]
}

/**
 * What fetches, with a clock that can be turned, and a line of 1 MB/s in place of the world outside: weeks pass in seconds.
 * Two runs of it may share what is here, and what was written down.
 */
export class PrewarmingRig {
  readonly clock: FakeClock
  readonly arrivals: Arrival[] = []
  readonly log = new RecordingLog()
  readonly jobs = new Jobs({ log: this.log })
  readonly #files: ReadonlyMap<number, Arriving>
  #saved: readonly PrewarmRecord[] = []
  readonly #world: World
  prewarming: Prewarming

  static async start(world: World): Promise<PrewarmingRig> {
    const rig = new PrewarmingRig(world)
    await rig.prewarming.start()
    onTestFinished(() => rig.#close())
    return rig
  }

  private constructor(world: World) {
    this.#world = world
    this.clock = new FakeClock(world.start)
    const sizes = Object.entries(world.sizes)
    this.#files = new Map(
      sizes.map(([number, sizeBytes]) => {
        const manifest = image({ uuid: uuid(Number(number)), name: number })
        return [Number(number), { manifest, sizeBytes, hereBytes: 0 }]
      }),
    )
    this.prewarming = this.#make()
  }

  /** What is held is held, what is written down is written down; all else is forgotten. */
  async restart(): Promise<void> {
    await this.#close()
    this.prewarming = this.#make()
    await this.prewarming.start()
  }

  here(number: number): number {
    return this.#files.get(number)!.hereBytes
  }

  /** Of arrivals, to the minute: seconds go by until it is noticed that something may begin. */
  get story(): string[] {
    return this.arrivals.map(({ from, number, to }) => `${number}: ${from.slice(5, 16)} to ${to.slice(5, 16)}`)
  }

  async until(time: string): Promise<void> {
    await this.clock.advance(Date.parse(time) - this.clock.wallMs())
  }

  #make(): Prewarming {
    const store: PrewarmStore = {
      load: async () => this.#saved,
      save: async (records) => {
        this.#saved = records
      },
    }
    return new Prewarming({
      ...{ store, jobs: this.jobs, clock: this.clock, log: this.log, policies: this.#world.policies },
      isOffline: false,
      survey: async (wishes, nowMs): Promise<Survey> => ({
        goals: wishes.map(({ policy: name, terms }) => ({
          policy: name,
          terms,
          images: (this.#world.wanted[name] ?? []).map((chain) => ({
            uuid: uuid(chain.at(-1)!),
            manifest: this.#files.get(chain.at(-1)!)!.manifest,
            files: chain.map((number) => this.#look(number)),
            obstacle: undefined,
            missingOrigin: undefined,
          })),
        })),
        lines: { total: this.#line, upstreams: new Map([['far', steadyPlan(RATE)]]) },
        roomBytes: undefined,
        staying: new Map(),
        nowMs,
      }),
      refresh: async () => {},
      find: async () => undefined,
      pull: (pull) => this.#pull(pull),
      held: async () => {},
      hasRoom: async () => this.#world.hasRoom?.() ?? true,
      counters: { prewarmed: () => {} },
    })
  }

  get #line(): RatePlan {
    return this.#world.total ?? steadyPlan('unlimited')
  }

  #look(number: number): SurveyedFile {
    const { hereBytes, manifest, sizeBytes } = this.#files.get(number)!
    const missingBytes = sizeBytes - hereBytes
    return { key: `file ${number}`, sizeBytes, missingBytes, offeredBy: ['far'], manifest, fileIndex: 0 }
  }

  async #pull({ manifest, onProgress, signal }: FilePull): Promise<void> {
    const number = Number(manifest.name)
    const file = this.#files.get(number)!
    const now = () => new Date(this.clock.wallMs()).toISOString()
    const arrival = { number, from: now(), fromBytes: file.hereBytes, to: now(), toBytes: file.hereBytes }
    this.arrivals.push(arrival)
    if (this.#world.broken?.includes(number)) throw new MirrorError('UPSTREAM_MISBEHAVED', 'gone')
    while (file.hereBytes < file.sizeBytes) {
      const pieceBytes = Math.min((RATE * PIECE_MS) / 1000, file.sizeBytes - file.hereBytes)
      await this.clock.pause((pieceBytes / RATE) * 1000, signal)
      if (limitAt(this.#line, this.clock.wallMs()) === 'closed') {
        throw new MirrorError('UPSTREAM_UNREACHABLE', 'the line is closed')
      }
      file.hereBytes += pieceBytes
      Object.assign(arrival, { to: now(), toBytes: file.hereBytes })
      onProgress(file.hereBytes)
    }
  }

  async #close(): Promise<void> {
    const closed = this.prewarming.close()
    this.prewarming.job?.abort(new Error('the test is over'))
    await closed
  }
}
