import type { KeptTag } from './registry-store.js'

/** As a line of `registry/tags.jsonl` says it. */
type TagLine =
  | { readonly seen: KeptTag }
  | {
      readonly lost: {
        readonly host: string
        readonly repository: string
        readonly tag: string
        readonly lastSeenMs: number
      }
    }
  | { readonly forgotten: { readonly host: string; readonly repository: string; readonly tag: string } }

/** What a tag is taken to cost, on the disk and in memory: a block, as it comes with an object; and each former meaning. */
const TAG_BYTES = 4096
const MEANING_BYTES = 512

interface Known {
  /** What it has meant, oldest first. Never empty. */
  readonly history: KeptTag[]
  isLost: boolean
}

/**
 * What tags mean and have meant, in memory, and as the lines it is kept in. A tag costs about 550 bytes, and each thing it
 * has meant before another 260 (measured with 20,000).
 */
export class KeptTags {
  /** By `host/repository`, then by tag. */
  readonly #repositories = new Map<string, Map<string, Known>>()
  /** Seen again since it was written down when. */
  readonly #unwritten = new Set<Known>()
  #sizeBytes = 0

  /** What all of them are taken to cost. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  get(host: string, repository: string, tag: string): KeptTag | undefined {
    const known = this.#find(host, repository, tag)
    return known?.isLost ? undefined : known?.history.at(-1)
  }

  /** What tags mean now, of all repositories or of one. */
  *current(host?: string, repository?: string): Generator<KeptTag> {
    for (const tags of this.#of(host, repository)) {
      for (const { history, isLost } of tags.values()) if (!isLost) yield history.at(-1)!
    }
  }

  historyOf(host: string, repository: string, tag: string): readonly KeptTag[] {
    return this.#find(host, repository, tag)?.history ?? []
  }

  /** Of every tag what it has meant, lost ones too. */
  *histories(): Generator<readonly KeptTag[]> {
    for (const tags of this.#repositories.values()) for (const { history } of tags.values()) yield history
  }

  costBytes(host: string, repository: string, tag: string): number {
    const known = this.#find(host, repository, tag)
    return known ? costOf(known) : 0
  }

  forget(host: string, repository: string, tag: string): void {
    const known = this.#find(host, repository, tag)
    if (!known) return
    this.#sizeBytes -= costOf(known)
    this.#unwritten.delete(known)
    const tags = this.#repositories.get(`${host}/${repository}`)!
    tags.delete(tag)
    if (tags.size === 0) this.#repositories.delete(`${host}/${repository}`)
  }

  /**
   * Takes in a sighting: a tag that means what it meant before is seen longer, anything else is news.
   * @param isWritten whether the line for it is on the disk.
   */
  apply(seen: KeptTag, isWritten: boolean): void {
    const { host, repository, tag } = seen
    const key = `${host}/${repository}`
    const tags = this.#repositories.get(key) ?? new Map<string, Known>()
    this.#repositories.set(key, tags)
    const known = tags.get(tag) ?? { history: [], isLost: false }
    this.#sizeBytes -= tags.has(tag) ? costOf(known) : 0
    tags.set(tag, known)
    const last = known.history.at(-1)
    // Two who see the same news at once both write it down, the later one perhaps first.
    if (last?.digest === seen.digest && !known.isLost) {
      const firstSeenMs = Math.min(last.firstSeenMs, seen.firstSeenMs)
      const lastSeenMs = Math.max(last.lastSeenMs, seen.lastSeenMs)
      known.history[known.history.length - 1] = { ...seen, firstSeenMs, lastSeenMs }
    } else known.history.push(seen)
    known.isLost = false
    this.#sizeBytes += costOf(known)
    if (isWritten) this.#unwritten.delete(known)
    else this.#unwritten.add(known)
  }

  lose(host: string, repository: string, tag: string, lastSeenMs: number): void {
    const known = this.#find(host, repository, tag)
    if (!known) return
    known.isLost = true
    this.#unwritten.delete(known)
    const last = known.history.at(-1)!
    known.history[known.history.length - 1] = { ...last, lastSeenMs: Math.max(last.lastSeenMs, lastSeenMs) }
  }

  /** Lines for what was seen again since it was written down; they are on the disk when `written` is called. */
  unwritten(): { readonly lines: readonly TagLine[]; readonly written: () => void } {
    const pending = [...this.#unwritten].map((known) => ({ known, seen: known.history.at(-1)! }))
    return {
      lines: pending.map(({ seen }) => ({ seen })),
      written: () => {
        for (const { known, seen } of pending) if (known.history.at(-1) === seen) this.#unwritten.delete(known)
      },
    }
  }

  /** Everything known, history included. */
  *lines(): Generator<TagLine> {
    for (const tags of this.#repositories.values()) {
      for (const { history, isLost } of tags.values()) {
        for (const [place, seen] of history.entries()) {
          const before = history[place - 1]
          // It was lost in between, or the two would be one.
          if (before?.digest === seen.digest) yield lostLine(before)
          yield { seen }
        }
        if (isLost) yield lostLine(history.at(-1)!)
      }
    }
  }

  /** A line as it was read back. Answers false for what is none. */
  take(line: unknown): boolean {
    // The seal says that we wrote it and nobody changed it: its form needs no further look.
    const { seen, lost, forgotten } = (line ?? {}) as { seen?: KeptTag; lost?: KeptTag; forgotten?: KeptTag }
    if (seen) this.apply(pick(seen), true)
    else if (lost) this.lose(lost.host, lost.repository, lost.tag, lost.lastSeenMs)
    else if (forgotten) this.forget(forgotten.host, forgotten.repository, forgotten.tag)
    return seen !== undefined || lost !== undefined || forgotten !== undefined
  }

  #find(host: string, repository: string, tag: string): Known | undefined {
    return this.#repositories.get(`${host}/${repository}`)?.get(tag)
  }

  #of(host: string | undefined, repository: string | undefined): Iterable<Map<string, Known>> {
    if (host !== undefined && repository !== undefined) {
      const tags = this.#repositories.get(`${host}/${repository}`)
      return tags ? [tags] : []
    }
    if (host === undefined) return this.#repositories.values()
    return [...this.#repositories].filter(([key]) => key.startsWith(`${host}/`)).map(([, tags]) => tags)
  }
}

export function lostLine({ host, repository, tag, lastSeenMs }: Omit<KeptTag, 'digest' | 'firstSeenMs'>): TagLine {
  return { lost: { host, repository, tag, lastSeenMs } }
}

export function forgottenLine({ host, repository, tag }: Pick<KeptTag, 'host' | 'repository' | 'tag'>): TagLine {
  return { forgotten: { host, repository, tag } }
}

function costOf({ history }: Known): number {
  return TAG_BYTES + MEANING_BYTES * (history.length - 1)
}

function pick({ host, repository, tag, digest, firstSeenMs, lastSeenMs }: KeptTag): KeptTag {
  return { host, repository, tag, digest, firstSeenMs, lastSeenMs }
}
