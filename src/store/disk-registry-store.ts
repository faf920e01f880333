import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'
import { Interner } from '../parts/interner.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Flaw } from './audit-store.js'
import { type Places, setFileAside } from './evidence.js'
import { forgottenLine, KeptTags, lostLine } from './kept-tags.js'
import type { Derivation, KeptObject, KeptTag, RegistryStore } from './registry-store.js'
import { SealedLines } from './sealed-lines.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** What registries take for a manifest (distribution, registry/handlers/manifests.go, `maxManifestBodySize`), and configs fit in too. */
const OBJECT_LIMIT_BYTES = 4 * 1024 * 1024
const DIGEST = /^sha256:([0-9a-f]{64})$/
/** When a tag was seen last is written down at most so late. A crash makes us ask the registry once more. */
const SIGHTINGS_WRITTEN_MS = 10 * 60_000
/** The digest of these leaves their signatures out. */
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+(json|prettyjws)$/
const NONE: ReadonlySet<string> = new Set()
/** Objects are let go of so many at a time: those that want to be kept wait for no more. */
const LEAVING_TOGETHER = 100
/** What every object takes at least of a disk, and what has to be known of it for each of its repositories. */
const BLOCK_BYTES = 4096
const PLACE_BYTES = 512

/** All of an object but its bytes: about 800 bytes (measured with 5,000), and 100 for every further repository that has it. */
interface ObjectFacts {
  readonly mediaType: string
  readonly sizeBytes: number
  /** Of the bytes, hex. The digest says the same, but for schema 1, whose digest leaves the signatures out. */
  readonly sha256: string
  /** As `host/repository`. */
  readonly repositories: Set<string>
}

/** As a line of `registry/objects.jsonl` says it. Another kind of line says which one is `gone`. */
interface ObjectLine {
  readonly object: { digest: string; mediaType: string; sizeBytes: number; sha256?: string }
  readonly in: string
}

/**
 * What registries said, in `registry/`: objects as plain files `objects/<first two hex>/<hex>`, to be read with any tool and
 * checked with sha256sum; `objects.jsonl` says what they are, `tags.jsonl` what tags mean, `derivations.jsonl` which blobs were made of which.
 *
 * An object's file is there before the line that speaks of it: a crash in between leaves a file that the next one to
 * fetch it writes again, or the next start removes.
 */
export class DiskRegistryStore implements RegistryStore {
  readonly #root: string
  readonly #places: Places
  readonly #log: Log
  readonly #objects = new Map<string, ObjectFacts>()
  readonly #byRepository = new Map<string, Set<string>>()
  #objectsBytes = 0
  readonly #names = new Interner(100_000)
  readonly #tags = new KeptTags()
  readonly #derivations = new Map<string, Derivation>()
  /** Of object files: one that is set aside must not be written meanwhile. */
  readonly #writing = new OneAtATime()
  readonly #tagging = new OneAtATime()
  #objectLines!: SealedLines
  #tagLines!: SealedLines
  #derivationLines!: SealedLines
  #timer: NodeJS.Timeout | undefined

  static async open(options: Places & { readonly log: Log }): Promise<DiskRegistryStore> {
    const store = new DiskRegistryStore(options, options.log)
    try {
      await store.#open()
    } catch (cause) {
      throw storeFailure(`cannot read what registries said in ${store.#root}`, cause)
    }
    return store
  }

  private constructor(places: Places, log: Log) {
    const { root, partial, fileSystem } = places
    this.#root = join(root, 'registry')
    this.#places = { root, partial, fileSystem }
    this.#log = log
  }

  async object(digest: string): Promise<KeptObject | undefined> {
    const facts = this.#objects.get(digest)
    if (!facts) return undefined
    try {
      const bytes = await this.#read(digest, facts)
      if (bytes) return { digest, mediaType: facts.mediaType, bytes }
      await this.#writing.run(() => this.#auditObject(digest))
      return undefined
    } catch (cause) {
      throw storeFailure(`cannot read ${digest}`, cause)
    }
  }

  objectSizeBytes(digest: string): number | undefined {
    return this.#objects.get(digest)?.sizeBytes
  }

  async keepObject(host: string, repository: string, object: KeptObject): Promise<void> {
    const { digest, mediaType, bytes } = object
    const name = `${host}/${repository}`
    if (this.#objects.get(digest)?.repositories.has(name)) return
    if (bytes.length > OBJECT_LIMIT_BYTES)
      throw new Error(`${digest} has ${bytes.length} bytes: too many for an object`)
    const path = this.#pathOf(digest)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const facts = { mediaType, sizeBytes: bytes.length, sha256 }
    if (digest !== `sha256:${sha256}` && !SCHEMA_1.test(mediaType)) throw new Error(`${digest} is of other bytes`)
    await this.#writing.run(async () => {
      const known = this.#objects.get(digest)
      if (known?.repositories.has(name)) return
      try {
        if (!known) {
          await ensureDirectory(this.#places.fileSystem, dirname(path))
          await writeWhole(this.#places.fileSystem, path, bytes, this.#places.partial)
        }
        const line = objectLine(digest, known ?? facts, name)
        await this.#objectLines.append([line], () => this.#noteObject(digest, facts, name))
      } catch (cause) {
        throw storeFailure(`cannot keep ${digest}`, cause)
      }
    })
  }

  repositoriesOf(digest: string): ReadonlySet<string> {
    return this.#objects.get(digest)?.repositories ?? NONE
  }

  objectsOf(host: string, repository: string): ReadonlySet<string> {
    return this.#byRepository.get(`${host}/${repository}`) ?? NONE
  }

  tags(host?: string, repository?: string): Iterable<KeptTag> {
    return this.#tags.current(host, repository)
  }

  tag(host: string, repository: string, tag: string): KeptTag | undefined {
    return this.#tags.get(host, repository, tag)
  }

  historyOf(host: string, repository: string, tag: string): readonly KeptTag[] {
    return this.#tags.historyOf(host, repository, tag)
  }

  async sawTag(sighting: Omit<KeptTag, 'firstSeenMs' | 'lastSeenMs'>, seenMs: number): Promise<boolean> {
    const { host, repository, tag, digest } = sighting
    const seen = { host, repository, tag, digest, firstSeenMs: seenMs, lastSeenMs: seenMs }
    if (this.#tags.get(host, repository, tag)?.digest === digest) {
      this.#tags.apply(seen, false)
      this.#writeSightingsSoon()
      return false
    }
    let isNews = false
    await this.#appendTags([{ seen }], () => {
      // Looked at in its turn: of two who see the same news at once, the second sees nothing new.
      isNews = this.#tags.get(host, repository, tag)?.digest !== digest
      this.#tags.apply(seen, true)
    })
    return isNews
  }

  async lostTag(host: string, repository: string, tag: string, seenMs: number): Promise<void> {
    const known = this.#tags.get(host, repository, tag)
    if (!known) return
    await this.#appendTags([lostLine(known)], () => this.#tags.lose(host, repository, tag, known.lastSeenMs))
    this.#log.debug({ host, repository, tag, seenMs }, 'the registry has this tag no more')
  }

  histories(): Iterable<readonly KeptTag[]> {
    return this.#tags.histories()
  }

  objects(): Iterable<string> {
    return this.#objects.keys()
  }

  get sizeBytes(): number {
    return this.#objectsBytes + this.#tags.sizeBytes
  }

  objectCostBytes(digest: string): number {
    const facts = this.#objects.get(digest)
    return facts ? costOf(facts) : 0
  }

  tagCostBytes(host: string, repository: string, tag: string): number {
    return this.#tags.costBytes(host, repository, tag)
  }

  /** First the line, then the file: a crash in between leaves a file that the next start finds to be nobody's. */
  async letGoOfObjects(digests: readonly string[]): Promise<void> {
    for (let start = 0; start < digests.length; start += LEAVING_TOGETHER) {
      await this.#writing.run(async () => {
        const leaving = digests.slice(start, start + LEAVING_TOGETHER).filter((digest) => this.#objects.has(digest))
        if (leaving.length === 0) return
        await this.#objectLines.append(
          leaving.map((gone) => ({ gone })),
          () => {
            for (const digest of leaving) this.#forget(digest)
          },
        )
        try {
          for (const digest of leaving) await this.#places.fileSystem.remove(this.#pathOf(digest))
        } catch (cause) {
          throw storeFailure('cannot remove manifests of registries', cause)
        }
      })
    }
  }

  async forgetTags(tags: readonly Pick<KeptTag, 'host' | 'repository' | 'tag'>[]): Promise<void> {
    if (tags.length === 0) return
    await this.#appendTags(tags.map(forgottenLine), () => {
      for (const { host, repository, tag } of tags) this.#tags.forget(host, repository, tag)
    })
  }

  derivationOf(fromSha256: string): Derivation | undefined {
    return this.#derivations.get(fromSha256)
  }

  isOfDerivation(sha256: string): boolean {
    if (this.#derivations.has(sha256)) return true
    for (const derivation of this.#derivations.values()) if (derivation.sha256 === sha256) return true
    return false
  }

  async keepDerivation(derivation: Derivation): Promise<void> {
    await this.#derivationLines.append([{ derivation }], () => this.#derivations.set(derivation.fromSha256, derivation))
  }

  async audit(): Promise<readonly Flaw[]> {
    const flaws: Flaw[] = []
    for (const lines of [this.#objectLines, this.#tagLines, this.#derivationLines]) {
      const flaw = await lines.audit()
      if (flaw) flaws.push({ kind: 'registry', ...flaw })
    }
    // Each object by itself, so that nobody waits for all of them.
    for (const digest of [...this.#objects.keys()]) {
      try {
        const flaw = await this.#writing.run(() => this.#auditObject(digest))
        if (flaw) flaws.push(flaw)
      } catch (cause) {
        throw storeFailure(`cannot read ${digest} again`, cause)
      }
    }
    return flaws
  }

  /** Writes down when tags were seen last, and waits for what is being written. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#writing.idle()
    await this.#writeSightings()
    for (const lines of [this.#objectLines, this.#tagLines, this.#derivationLines]) await lines.idle()
  }

  async #open(): Promise<void> {
    const options = { ...this.#places, log: this.#log }
    const path = (name: string) => join(this.#root, name)
    await ensureDirectory(this.#places.fileSystem, path('objects'))
    this.#objectLines = await SealedLines.open({
      ...options,
      path: path('objects.jsonl'),
      what: 'which manifests of registries are kept',
      take: (line) => this.#takeObject(line),
      current: () => this.#linesOfObjects(),
    })
    await this.#removeStrays()
    this.#tagLines = await SealedLines.open({
      ...options,
      path: path('tags.jsonl'),
      what: 'what tags mean',
      take: (line) => this.#tags.take(line),
      current: () => this.#tags.lines(),
    })
    this.#derivationLines = await SealedLines.open({
      ...options,
      path: path('derivations.jsonl'),
      what: 'which layers were made from which',
      take: (line) => this.#takeDerivation(line),
      current: () => [...this.#derivations.values()].map((derivation) => ({ derivation })),
    })
  }

  /** Removes files of objects that no line speaks of: a crash left them, on their way in or out. */
  async #removeStrays(): Promise<void> {
    const { fileSystem } = this.#places
    const root = join(this.#root, 'objects')
    let strays = 0
    for (const directory of await fileSystem.list(root)) {
      if (!/^[0-9a-f]{2}$/.test(directory)) continue
      for (const name of await fileSystem.list(join(root, directory))) {
        if (!/^[0-9a-f]{64}$/.test(name) || this.#objects.has(`sha256:${name}`)) continue
        await fileSystem.remove(join(root, directory, name))
        strays++
      }
    }
    if (strays > 0) this.#log.info({ strays }, 'removed files of manifests that were not, or no longer, kept')
  }

  /** Throws a plain Error for what is no digest: it becomes the name of a file. */
  #pathOf(digest: string): string {
    const hex = DIGEST.exec(digest)?.[1]
    if (!hex) throw new Error(`${JSON.stringify(digest)} is not the digest of an object`)
    return join(this.#root, 'objects', hex.slice(0, 2), hex)
  }

  /** `undefined` for what is not there, or not what was kept. */
  async #read(digest: string, { sizeBytes, sha256 }: ObjectFacts): Promise<Buffer | undefined> {
    const path = this.#pathOf(digest)
    const found = await this.#places.fileSystem.describe(path)
    if (found?.sizeBytes !== sizeBytes) return undefined
    const bytes = await readWhole(this.#places.fileSystem, path, OBJECT_LIMIT_BYTES)
    return bytes && createHash('sha256').update(bytes).digest('hex') === sha256 ? bytes : undefined
  }

  /** A damaged object is set aside: whoever asks for it next has it fetched again. */
  async #auditObject(digest: string): Promise<Flaw | undefined> {
    const facts = this.#objects.get(digest)
    if (!facts || (await this.#read(digest, facts).catch(() => undefined))) return undefined
    const path = this.#pathOf(digest)
    const isThere = (await this.#places.fileSystem.describe(path)) !== undefined
    const complaint = isThere ? 'it is not what was kept' : 'it has vanished'
    const { sha256, repositories } = facts
    this.#forget(digest)
    this.#log.error({ path, digest }, `${digest} of ${[...repositories].join(', ')} is damaged: ${complaint}`)
    if (isThere) await setFileAside(this.#places, path, { complaint, sha256 })
    await this.#objectLines.append([{ gone: digest }], () => {})
    return { kind: 'registry', path, complaint, isMended: false }
  }

  #noteObject(digest: string, facts: Omit<ObjectFacts, 'repositories'>, name: string): void {
    const repository = this.#names.share(name)
    const known = this.#objects.get(digest)
    if (known) this.#objectsBytes -= costOf(known)
    const mediaType = this.#names.share(facts.mediaType)
    const noted = known ?? { ...facts, mediaType, repositories: new Set<string>() }
    noted.repositories.add(repository)
    this.#objects.set(digest, noted)
    this.#objectsBytes += costOf(noted)
    const objects = this.#byRepository.get(repository)
    if (objects) objects.add(digest)
    else this.#byRepository.set(repository, new Set([digest]))
  }

  #forget(digest: string): void {
    const facts = this.#objects.get(digest)
    if (!facts) return
    this.#objectsBytes -= costOf(facts)
    this.#objects.delete(digest)
    for (const repository of facts.repositories) {
      const objects = this.#byRepository.get(repository)
      objects?.delete(digest)
      if (objects?.size === 0) this.#byRepository.delete(repository)
    }
  }

  #takeObject(line: unknown): boolean {
    // The seal says that we wrote it and nobody changed it: its form needs no further look.
    const found = (line ?? {}) as { object?: ObjectLine['object']; in?: string; gone?: string }
    if (found.gone !== undefined) {
      this.#forget(found.gone)
      return true
    }
    if (!found.object || found.in === undefined) return false
    const { digest, mediaType, sizeBytes, sha256 = digest.slice('sha256:'.length) } = found.object
    this.#noteObject(digest, { mediaType, sizeBytes, sha256 }, found.in)
    return true
  }

  *#linesOfObjects(): Generator<ObjectLine> {
    for (const [digest, facts] of this.#objects) {
      for (const repository of facts.repositories) yield objectLine(digest, facts, repository)
    }
  }

  #takeDerivation(line: unknown): boolean {
    const { derivation } = (line ?? {}) as { derivation?: Derivation }
    if (derivation) this.#derivations.set(derivation.fromSha256, derivation)
    return derivation !== undefined
  }

  /**
   * Adds lines about tags, behind when tags were seen last to mean what they meant until now. That is asked for in its turn: a
   * sighting written behind the news of another meaning would be news itself to whoever reads the file.
   */
  #appendTags(lines: readonly object[], apply: () => void): Promise<void> {
    return this.#tagging.run(async () => {
      const { lines: sightings, written } = this.#tags.unwritten()
      if (sightings.length + lines.length === 0) return
      await this.#tagLines.append([...sightings, ...lines], () => {
        written()
        apply()
      })
    })
  }

  #writeSightingsSoon(): void {
    if (this.#timer) return
    this.#timer = setTimeout(() => void this.#writeSightings(), SIGHTINGS_WRITTEN_MS)
    this.#timer.unref()
  }

  async #writeSightings(): Promise<void> {
    this.#timer = undefined
    try {
      await this.#appendTags([], () => {})
    } catch (error) {
      this.#log.warn({ err: error }, 'when tags were seen last could not be written down')
    }
  }
}

function costOf({ repositories, sizeBytes }: ObjectFacts): number {
  return Math.ceil(Math.max(1, sizeBytes) / BLOCK_BYTES) * BLOCK_BYTES + PLACE_BYTES * (repositories.size - 1)
}

function objectLine(digest: string, facts: Omit<ObjectFacts, 'repositories'>, repository: string): ObjectLine {
  const { mediaType, sizeBytes, sha256 } = facts
  const isNamedByIt = digest === `sha256:${sha256}`
  return { object: { digest, mediaType, sizeBytes, ...(!isNamedByIt && { sha256 }) }, in: repository }
}
