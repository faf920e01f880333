import { setImmediate as nextTurn } from 'node:timers/promises'
import { isMirrorError, MirrorError } from '../errors.js'
import { type Filter, parseFilter } from '../images/filter.js'
import type { Manifest } from '../images/manifest.js'
import { type NewestBy, newestOfEachName } from '../images/newest-of-each-name.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import type { Carrying } from '../mirror/carrying.js'
import type { Candidate } from './choose-images.js'
import type { Want } from './inventory.js'

/** Which images are asked for. */
export interface Selection {
  /** Filters as in `imgapi-mirror list`, and uuids: an image must match all filters, and be one of the uuids, if there are any. */
  readonly texts: readonly string[]
  readonly latest: number | undefined
  readonly by: NewestBy
}

export interface Candidates {
  readonly candidates: readonly Candidate[]
  readonly warnings: readonly string[]
}

type Source = Pick<Carrying, 'catalogue' | 'images'>

const CANDIDATES_A_TURN = 200

/**
 * What a selection means: without filters and uuids, all that is held, and else what is known, held or not. Images that are not
 * public are only meant by whoever names them, or asks for `public`.
 *
 * @throws MirrorError QUERY_INVALID for texts that mean nothing; the signal's reason.
 */
export async function findSelected(source: Source, selection: Selection, signal: AbortSignal): Promise<Candidates> {
  const uuids = new Set(selection.texts.flatMap((text) => parseUuid(text.trim()) ?? []))
  const filter = filterOf(selection.texts.filter((text) => !parseUuid(text.trim())))
  const finding = new Finding(source, signal)
  const known = await source.images.select(filter)
  if (uuids.size > 0) {
    const named = filter ? known.filter(({ uuid }) => uuids.has(uuid)) : await finding.named(uuids)
    await finding.add(newest(named, selection), 'selected')
  } else {
    const isAsked = filter?.conditions.some(({ path }) => path[0] === 'public') ?? false
    const meant = known.filter((manifest) => isOfUse(manifest) && (filter || source.images.isHeld(manifest)))
    const shown = isAsked ? meant : meant.filter(({ isPublic }) => isPublic)
    finding.tellPrivate(meant.length - shown.length)
    await finding.add(newest(shown, selection), 'selected')
  }
  return finding.found()
}

/** What somebody wants, as their inventory says. What is not public they do not get by wanting it. */
export async function findWanted(source: Source, wants: readonly Want[], signal: AbortSignal): Promise<Candidates> {
  const finding = new Finding(source, signal)
  let privateCount = 0
  const addPublic = async (manifests: readonly Manifest[]) => {
    const shown = manifests.filter(({ isPublic }) => isPublic)
    privateCount += manifests.length - shown.length
    await finding.add(shown, 'wanted')
  }
  for (const want of wants) {
    if (want.kind === 'image') await addPublic(await finding.named(new Set([want.uuid])))
    else {
      const known = await source.images.select(filterOf(want.filters))
      await addPublic(newest(known.filter(isOfUse), { latest: want.latest, by: 'version' }))
    }
  }
  finding.tellPrivate(privateCount)
  return finding.found()
}

class Finding {
  readonly #source: Source
  readonly #signal: AbortSignal
  readonly #candidates = new Map<Uuid, Candidate>()
  readonly #warnings: string[] = []

  constructor(source: Source, signal: AbortSignal) {
    this.#source = source
    this.#signal = signal
  }

  async named(uuids: ReadonlySet<Uuid>): Promise<Manifest[]> {
    const named: Manifest[] = []
    for (const uuid of [...uuids].sort()) {
      try {
        named.push(await this.#source.images.get(uuid, this.#signal))
      } catch (error) {
        this.#signal.throwIfAborted()
        if (!isMirrorError(error)) throw error
        this.#warnings.push(`left out ${uuid}: ${error.message}`)
      }
    }
    return named
  }

  async add(manifests: readonly Manifest[], why: Candidate['why']): Promise<void> {
    for (const manifest of manifests) {
      if (this.#candidates.has(manifest.uuid)) continue
      if (this.#candidates.size % CANDIDATES_A_TURN === CANDIDATES_A_TURN - 1) await nextTurn()
      this.#signal.throwIfAborted()
      const { broken, images, missing } = await this.#source.images.ancestryOf(manifest, this.#signal)
      const obstacle = broken?.message ?? (missing && `its origin ${missing} is not found`)
      this.#candidates.set(manifest.uuid, { manifest, why, chain: images.toReversed(), obstacle })
    }
  }

  tellPrivate(count: number): void {
    if (count === 0) return
    const what = count === 1 ? '1 image that is not public was' : `${count} images that are not public were`
    this.#warnings.push(`${what} left out; whoever wants them in a bundle names them by uuid, or selects public=false`)
  }

  found(): Candidates {
    return { candidates: [...this.#candidates.values()], warnings: this.#warnings }
  }
}

function filterOf(texts: readonly string[]): Filter | undefined {
  if (texts.length === 0) return undefined
  try {
    return parseFilter(texts.join(' '))
  } catch (error) {
    if (!isMirrorError(error, 'CONFIG_INVALID')) throw error
    throw new MirrorError('QUERY_INVALID', error.message, { cause: error })
  }
}

/** In the order they came in, whatever their names. */
function newest(manifests: readonly Manifest[], { by, latest }: Pick<Selection, 'by' | 'latest'>): readonly Manifest[] {
  if (latest === undefined) return manifests
  const chosen = new Set(newestOfEachName(manifests, latest, by).flat())
  return manifests.filter((manifest) => chosen.has(manifest))
}

/** What is half-made, or has failed to be, has no file that anybody could use. */
function isOfUse({ files, state }: Manifest): boolean {
  return files.length > 0 && (state === 'active' || state === 'disabled')
}
