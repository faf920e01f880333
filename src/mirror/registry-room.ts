import { setImmediate as nextTurn } from 'node:timers/promises'
import { isMirrorError } from '../errors.js'
import type { Clock } from '../parts/clock.js'
import type { Log } from '../parts/log.js'
import type { KeptTag } from '../store/registry-store.js'
import type { Store } from '../store/store.js'
import type { RegistryContents } from './registry-contents.js'

export interface RegistryRoomOptions {
  readonly store: Pick<Store, 'registry'>
  readonly contents: RegistryContents
  /** What may be kept that no followed tag leads to. */
  readonly limitBytes: number
  /** Whether configuration names this tag. */
  readonly isFollowed: (tag: KeptTag) => boolean
  readonly clock: Clock
  readonly log: Log
}

/** One thing that may leave. */
interface Candidate {
  readonly lastUsedMs: number
  readonly sizeBytes: number
  /** A tag, or the digest of an object. */
  readonly what: KeptTag | string
}

/** When the limit is reached, so much of it is left: looking through everything is not for each new manifest. */
const LEFT_OF_LIMIT = 0.9
/** Others get a turn after so many. */
const LOOKED_AT_TOGETHER = 1000

/**
 * Room for manifests, configs and tags of registries. What followed tags lead to now stays, whatever it takes. All else came
 * because clients asked for it, and where they may pull anything that has no end: when it takes more than the limit, what was
 * asked for longest ago leaves. It can be fetched again.
 *
 * What was asked for is remembered in memory only: after a restart a tag was used when it was seen last, and what is of no
 * tag when the mirror was started.
 */
export class RegistryRoom {
  #options: RegistryRoomOptions
  readonly #startedMs: number
  /** By digest, of what is kept. */
  readonly #usedMs = new Map<string, number>()
  /** The limit cannot be reached before the store is as large as this. */
  #nextLookBytes = 0
  #looking: Promise<void> | undefined
  #isClosed = false

  constructor(options: RegistryRoomOptions) {
    this.#options = options
    this.#startedMs = options.clock.wallMs()
  }

  /** From now on; which tags are followed may have changed as well. */
  change(limitBytes: number): void {
    this.#options = { ...this.#options, limitBytes }
    this.#nextLookBytes = 0
    this.grown()
  }

  /** Somebody has asked for this object, which is kept. */
  used(digest: string): void {
    this.#usedMs.set(digest, this.#options.clock.wallMs())
  }

  /** Something was kept. What has to leave for it does so in the background. */
  grown(): void {
    if (this.#looking || this.#isClosed || this.#options.store.registry.sizeBytes <= this.#nextLookBytes) return
    this.#looking = this.#lookThrough()
      .catch((error: unknown) => {
        this.#nextLookBytes = this.#options.store.registry.sizeBytes + this.#options.limitBytes * (1 - LEFT_OF_LIMIT)
        const isDisk = isMirrorError(error, 'STORE_FULL', 'STORE_BROKEN')
        this.#options.log.error(
          { err: error },
          `no room could be made for manifests${isDisk ? '' : ', by a fault of ours'}`,
        )
      })
      .finally(() => {
        this.#looking = undefined
      })
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#looking
  }

  async #lookThrough(): Promise<void> {
    const { contents, limitBytes, log, store } = this.#options
    const { registry } = store
    const candidates = await this.#candidates()
    const beforeBytes = candidates.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    let leftBytes = beforeBytes
    const tags: KeptTag[] = []
    const objects: string[] = []
    if (beforeBytes > limitBytes) {
      candidates.sort((a, b) => a.lastUsedMs - b.lastUsedMs)
      for (const { lastUsedMs, sizeBytes, what } of candidates) {
        if (leftBytes <= limitBytes * LEFT_OF_LIMIT) break
        // Somebody has asked for it meanwhile.
        if (typeof what === 'string' && (this.#usedMs.get(what) ?? 0) > lastUsedMs) continue
        leftBytes -= sizeBytes
        if (typeof what === 'string') objects.push(what)
        else tags.push(what)
      }
      await registry.forgetTags(tags)
      await registry.letGoOfObjects(objects)
      for (const digest of objects) {
        contents.forget(digest)
        this.#usedMs.delete(digest)
      }
      const facts = { tags: tags.length, objects: objects.length, freedBytes: beforeBytes - leftBytes }
      log.info(facts, 'let go of manifests of registries that nobody has asked for longest')
    }
    this.#nextLookBytes = registry.sizeBytes + Math.max(0, limitBytes - leftBytes)
  }

  /** All that no followed tag leads to. */
  async #candidates(): Promise<Candidate[]> {
    const { contents, isFollowed, store } = this.#options
    const { registry } = store
    const histories = [...registry.histories()]
    await contents.read(new Set(histories.flatMap((history) => history.map(({ digest }) => digest))))
    const staying = new Set<string>()
    const seenMs = new Map<string, number>()
    const tags: KeptTag[] = []
    let looked = 0
    const breathe = async () => {
      if (++looked % LOOKED_AT_TOGETHER === 0) await nextTurn()
    }
    for (const history of histories) {
      await breathe()
      const last = history.at(-1)!
      const isNamed = isFollowed(last)
      if (!isNamed) tags.push(last)
      for (const each of history) {
        const needed = contents.neededFor(each.digest)
        for (const digest of needed) {
          if (isNamed && each === last) staying.add(digest)
          else seenMs.set(digest, Math.max(each.lastSeenMs, seenMs.get(digest) ?? 0))
        }
      }
    }
    const usedMs = (digest: string) =>
      Math.max(this.#usedMs.get(digest) ?? 0, seenMs.get(digest) ?? 0) || this.#startedMs
    const candidates: Candidate[] = tags.map((tag) => ({
      lastUsedMs: Math.max(tag.lastSeenMs, this.#usedMs.get(tag.digest) ?? 0),
      sizeBytes: registry.tagCostBytes(tag.host, tag.repository, tag.tag),
      what: tag,
    }))
    for (const digest of registry.objects()) {
      if (staying.has(digest)) continue
      candidates.push({ lastUsedMs: usedMs(digest), sizeBytes: registry.objectCostBytes(digest), what: digest })
    }
    return candidates
  }
}
