import { join } from 'node:path'
import type { Claim } from '../images/claim.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Flaw } from './audit-store.js'
import { ClaimLineReader } from './claim-lines.js'
import type { ClaimStore, HeardClaims, Hearing } from './claim-store.js'
import type { FileSystem } from './file-system.js'
import { storeFailure } from './store-failure.js'
import { UpstreamClaims } from './upstream-claims.js'
import { ensureDirectory } from './whole-files.js'

/** Names come from the configuration, which checks them; they become file names here, so we look again. */
const UPSTREAM_NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/
/** Of the file with the claims of one upstream. */
export const CLAIMS_FILE_NAME = /^([a-z0-9][a-z0-9._-]{0,99})\.jsonl$/

/** One append-only file per upstream. What upstreams claim that are no longer configured stays, and is told. */
export class ClaimLog implements ClaimStore {
  readonly #root: string
  readonly #directory: string
  readonly #partial: string
  readonly #fileSystem: FileSystem
  readonly #log: Log
  /** As many as there are upstreams. */
  readonly #files = new Map<string, { readonly claims: UpstreamClaims; readonly turns: OneAtATime }>()
  #heard: HeardClaims

  static async open(options: { root: string; partial: string; fileSystem: FileSystem; log: Log }): Promise<ClaimLog> {
    const { root, partial, fileSystem, log } = options
    const claimLog = new ClaimLog(root, partial, fileSystem, log)
    const directory = claimLog.#directory
    try {
      await ensureDirectory(fileSystem, directory)
      await claimLog.#readAll()
    } catch (cause) {
      throw storeFailure(`cannot read the claims in ${directory}`, cause)
    }
    return claimLog
  }

  private constructor(root: string, partial: string, fileSystem: FileSystem, log: Log) {
    this.#root = root
    this.#directory = join(root, 'claims')
    this.#partial = partial
    this.#fileSystem = fileSystem
    this.#log = log
    this.#heard = { claims: [], listings: new Map(), damagedLines: 0 }
  }

  /** What was in the files at start. They were read then, because what is written next depends on it. */
  async load(): Promise<HeardClaims> {
    const heard = this.#heard
    this.#heard = { claims: [], listings: new Map(), damagedLines: 0 }
    return heard
  }

  async recall(upstream: string): Promise<readonly Claim[]> {
    const file = this.#files.get(upstream)
    return file ? await file.turns.run(async () => [...file.claims.current()]) : []
  }

  async record(hearing: Hearing): Promise<void> {
    const { upstream } = hearing
    if (!UPSTREAM_NAME.test(upstream)) throw new Error(`${JSON.stringify(upstream)} cannot be the name of an upstream`)
    const { claims, turns } = this.#fileOf(upstream)
    await turns.run(async () => {
      try {
        await claims.record(hearing)
      } catch (cause) {
        throw storeFailure(`cannot write down what upstream ${upstream} claims`, cause)
      }
    })
  }

  async audit(): Promise<readonly Flaw[]> {
    const flaws: Flaw[] = []
    for (const [upstream, { claims, turns }] of this.#files) {
      try {
        const complaint = await turns.run(() => claims.audit())
        if (complaint) flaws.push({ kind: 'claims', ...complaint })
      } catch (cause) {
        throw storeFailure(`cannot read again what upstream ${upstream} claims`, cause)
      }
    }
    return flaws
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    for (const { turns } of this.#files.values()) await turns.idle()
  }

  #fileOf(upstream: string) {
    let file = this.#files.get(upstream)
    if (!file) {
      const path = join(this.#directory, `${upstream}.jsonl`)
      const options = {
        upstream,
        path,
        root: this.#root,
        partial: this.#partial,
        fileSystem: this.#fileSystem,
        log: this.#log,
      }
      file = { claims: new UpstreamClaims(options), turns: new OneAtATime() }
      this.#files.set(upstream, file)
    }
    return file
  }

  async #readAll(): Promise<void> {
    const claims: Claim[] = []
    const listings = new Map<string, { heardMs: number; validator: string | undefined }>()
    let damagedLines = 0
    const reader = new ClaimLineReader()
    for (const name of (await this.#fileSystem.list(this.#directory)).sort()) {
      const upstream = CLAIMS_FILE_NAME.exec(name)?.[1]
      if (upstream === undefined) {
        this.#log.warn({ path: join(this.#directory, name) }, 'this is no file of claims, and left alone')
        continue
      }
      const file = this.#fileOf(upstream).claims
      const damagedHere = await file.load(reader)
      if (damagedHere > 0) this.#log.warn({ upstream, lines: damagedHere }, 'some lines of its claims were damaged')
      damagedLines += damagedHere
      for (const claim of file.current()) claims.push(claim)
      if (file.listing) listings.set(upstream, file.listing)
    }
    this.#heard = { claims, listings, damagedLines }
  }
}
