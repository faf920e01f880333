import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import PQueue from 'p-queue'
import type { Manifest } from '../images/manifest.js'
import type { ImageList } from '../mirror/mirror.js'
import { SingleFlight } from '../parts/single-flight.js'
import { createCompressor, type Encoding } from './encodings.js'

/** How a list is written. Its parts in a row are the whole: begin, texts with `between` between them, end. */
export interface ListForm {
  /** Tells lists of equal queries apart, in memory. The same for forms that write the same. */
  readonly key: string
  readonly begin: string
  readonly between: string
  readonly end: string
  /** The whole list, when there is nothing in it. */
  readonly empty: string
  /** Always the same text for the same manifest. */
  textOf(manifest: Manifest): string
}

/** A list as it is sent, known by its tag. The bytes themselves may have been let go in the meantime. */
export interface ListBody {
  readonly key: string
  readonly form: ListForm
  readonly sizeBytes: number
  /** SHA-1 of the bytes. */
  readonly tag: string
}

/** Owned by whoever asked for it, until `release`. */
export interface CompressedList {
  readonly encoding: Encoding
  readonly sizeBytes: number
  readonly chunks: readonly Buffer[]
  release(): void
}

/**
 * Manifests rendered between two turns of the event loop: about 64 KiB of JSON and half a millisecond, so that the
 * whole catalogue, 100,000 of them, holds nobody else up.
 */
const SLICE_MANIFESTS = 64

/** Rendered and compressed lists kept, together. The unfiltered list of 100,000 images takes about 90 MiB of it. */
const CACHE_BYTES = 256 * 1024 * 1024
/** What an entry takes besides its bytes, so that a flood of queries with empty answers is bounded too. */
const ENTRY_OVERHEAD_BYTES = 1024
/** Compressed lists that may be on their way at once; whoever asks for one more gets it plain. */
const COMPRESSED_ON_THEIR_WAY = 32

/**
 * Lists in the making at once: what they take is not the cache's yet. Others wait, at most one per connection; while a
 * long one is rendered in turns, three short ones pass it.
 */
const IN_THE_MAKING = 4

/** A list as it is sent, and all of its bytes. */
export interface ReadyList extends ListBody {
  readonly slices: readonly Buffer[]
}

interface RenderedList extends ListBody {
  /** Emptied when the cache lets go of it, also under the hands of those who are sending it. */
  slices: readonly Buffer[]
}

interface PackedList {
  readonly encoding: Encoding
  readonly sizeBytes: number
  readonly chunks: readonly Buffer[]
}

/**
 * Lists as text, each rendered once per revision of the catalogue, whoever asks.
 *
 * Memory is bounded whatever clients ask for: the cache by its bytes; a list on its way to a slow client holds no bytes
 * of its own, since a slice that is no longer in the cache is rendered again from the same manifests, to the same
 * bytes. Only compressed ones cannot be picked up in the middle; therefore their number is bounded.
 */
export class ListBodies {
  readonly #cache: LRUCache<string, RenderedList | PackedList>
  readonly #making = new PQueue({ concurrency: IN_THE_MAKING })
  readonly #rendering = new SingleFlight<string, RenderedList>()
  readonly #compressing = new SingleFlight<string, PackedList>()
  #revision = Number.NEGATIVE_INFINITY
  #compressedOnTheirWay = 0

  constructor(cacheBytes = CACHE_BYTES) {
    this.#cache = new LRUCache({
      maxSize: cacheBytes,
      sizeCalculation: ({ sizeBytes }) => sizeBytes + ENTRY_OVERHEAD_BYTES,
      dispose: (list) => {
        if ('slices' in list) list.slices = []
      },
    })
  }

  /** @param queryKey the same for equal queries. */
  async of(form: ListForm, queryKey: string, list: ImageList): Promise<ListBody> {
    if (list.revision > this.#revision) {
      this.#revision = list.revision
      this.#cache.clear()
    }
    const key = keyOf(form, queryKey, list.revision)
    const kept = this.#cache.get(key)
    if (kept && 'slices' in kept) return kept
    return this.#rendering.do(key, () => this.#making.add(() => this.#render(form, key, list)))
  }

  /** The slices of a body that is ready, if it takes no more than `mostBytes`: to be sent in one go. Nothing is made for it. */
  ready(form: ListForm, queryKey: string, revision: number, mostBytes: number): ReadyList | undefined {
    const kept = this.#cache.get(keyOf(form, queryKey, revision))
    if (!kept || !('slices' in kept) || kept.slices.length === 0 || kept.sizeBytes > mostBytes) return undefined
    return kept
  }

  /** The bytes of a body, slice by slice, as they are asked for. `list` is the one it was made of. */
  async *bytesOf(body: ListBody, list: ImageList): AsyncGenerator<Buffer> {
    const count = sliceCount(list.manifests)
    for (let place = 0; place < count; place += 1) {
      const kept = (body as RenderedList).slices[place]
      if (!kept) await nextTurn()
      yield kept ?? renderSlice(body.form, list.manifests, place)
    }
  }

  /** Answers `undefined` when too many are on their way already. Whoever gets one releases it. */
  async compressed(body: ListBody, list: ImageList, encoding: Encoding): Promise<CompressedList | undefined> {
    if (this.#compressedOnTheirWay >= COMPRESSED_ON_THEIR_WAY) return undefined
    this.#compressedOnTheirWay += 1
    let isReleased = false
    const release = () => {
      if (!isReleased) this.#compressedOnTheirWay -= 1
      isReleased = true
    }
    try {
      return { ...(await this.#pack(body, list, encoding)), release }
    } catch (error) {
      release()
      throw error
    }
  }

  /** Lets go of everything kept; what is on its way is rendered again as it is needed. */
  drop(): void {
    this.#cache.clear()
  }

  /** For operators. */
  state(): { readonly count: number; readonly sizeBytes: number } {
    return { count: this.#cache.size, sizeBytes: this.#cache.calculatedSize }
  }

  async #pack(body: ListBody, list: ImageList, encoding: Encoding): Promise<PackedList> {
    const key = `${encoding} ${body.key}`
    const kept = this.#cache.get(key)
    if (kept && 'chunks' in kept) return kept
    return this.#compressing.do(key, () => this.#making.add(() => this.#compress(key, body, list, encoding)))
  }

  async #render(form: ListForm, key: string, { manifests }: ImageList): Promise<RenderedList> {
    const rendered = await render(form, key, manifests)
    this.#cache.set(key, rendered)
    if (!this.#cache.has(key)) rendered.slices = [] // larger than all of the cache
    return rendered
  }

  async #compress(key: string, body: ListBody, list: ImageList, encoding: Encoding): Promise<PackedList> {
    const chunks: Buffer[] = []
    const compressor = createCompressor(encoding)
    await pipeline(Readable.from(this.bytesOf(body, list)), compressor, async (packed: AsyncIterable<Buffer>) => {
      for await (const chunk of packed) chunks.push(chunk)
    })
    const packed = { encoding, chunks, sizeBytes: chunks.reduce((sum, chunk) => sum + chunk.length, 0) }
    this.#cache.set(key, packed)
    return packed
  }
}

function keyOf(form: ListForm, queryKey: string, revision: number): string {
  return `${revision} ${form.key} ${queryKey}`
}

async function render(form: ListForm, key: string, manifests: readonly Manifest[]): Promise<RenderedList> {
  const slices: Buffer[] = []
  const hash = createHash('sha1')
  let sizeBytes = 0
  const count = sliceCount(manifests)
  for (let place = 0; place < count; place += 1) {
    if (place > 0) await nextTurn()
    const slice = renderSlice(form, manifests, place)
    hash.update(slice)
    sizeBytes += slice.length
    slices.push(slice)
  }
  return { key, form, sizeBytes, tag: hash.digest('hex'), slices }
}

function sliceCount(manifests: readonly Manifest[]): number {
  return Math.max(1, Math.ceil(manifests.length / SLICE_MANIFESTS))
}

/** All slices in a row are the whole list. */
function renderSlice(form: ListForm, manifests: readonly Manifest[], place: number): Buffer {
  if (manifests.length === 0) return Buffer.from(form.empty)
  const start = place * SLICE_MANIFESTS
  const end = Math.min(start + SLICE_MANIFESTS, manifests.length)
  const texts = manifests.slice(start, end).map((manifest) => form.textOf(manifest))
  const head = start === 0 ? form.begin : form.between
  const tail = end === manifests.length ? form.end : ''
  return Buffer.from(head + texts.join(form.between) + tail)
}
