import { identityDifferences } from '../../images/identity.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import { forEachConcurrently } from '../../parts/for-each-concurrently.js'
import type { LedgerEntry } from '../../store/ledger-store.js'
import type { Upstream } from '../../upstream/upstream.js'
import { type DeclaredFile, declaredFiles, type Ledger } from '../ledger.js'
import { type AuditHead, auditHeadOf } from './audit-head.js'
import { type AuditReport, type AuditSpan, reportOf } from './audit-report.js'
import { type LedgerVerdict, type VerifyQuestion, verifyLedger } from './verify-ledger.js'

export type { LedgerReader } from '../../store/ledger-store.js'

/** One entry, as operators are told of it. */
export interface AuditEntry {
  readonly seq: number
  readonly atMs: number
  readonly kind: string
  readonly image: string | null
  readonly facts: Readonly<Record<string, unknown>>
}

/** Where an upstream, asked just now, does not say what we hold. */
export interface Discrepancy {
  readonly upstream: string
  readonly uuid: Uuid
  readonly name: string
  readonly version: string
  /** In words: what differs, or that it has the image no more. */
  readonly differences: readonly string[]
  readonly held: readonly DeclaredFile[]
  /** Empty for one that it has no more. */
  readonly claimed: readonly DeclaredFile[]
}

export interface Comparison {
  readonly askedMs: number
  readonly imagesHeld: number
  readonly upstreams: readonly {
    readonly name: string
    /** How many of the held images it has. */
    readonly compared: number
    /** Why it could not be asked, or not to the end. */
    readonly error: string | null
  }[]
  readonly discrepancies: readonly Discrepancy[]
}

export interface AuditingOptions {
  readonly ledger: Ledger
  readonly upstreams: readonly Upstream[]
  /** Held images, with every digest that was measured. */
  readonly held: () => Iterable<Manifest>
  /** Whether this upstream ever claimed that image. */
  readonly hasClaimed: (upstream: string, uuid: Uuid) => boolean
}

/** Images asked for one by one at the same time, of each upstream. */
const QUESTIONS_AT_ONCE = 4

/** What auditors ask of a running mirror. */
export class Auditing {
  readonly #options: AuditingOptions

  constructor(options: AuditingOptions) {
    this.#options = options
  }

  /** @throws MirrorError STORE_BROKEN; the signal's reason. */
  async verify(question: VerifyQuestion): Promise<LedgerVerdict> {
    const { store } = this.#options.ledger
    await store.flush()
    return await verifyLedger(store, question)
  }

  /** With a head that is signed now. @throws MirrorError STORE_BROKEN, STORE_FULL; the signal's reason. */
  async report(span: AuditSpan): Promise<AuditReport> {
    await this.#options.ledger.sign()
    return await reportOf(this.#options.ledger.store, span)
  }

  /** The newest entries, about one image or all, in order. @throws MirrorError STORE_BROKEN. */
  async log(image: Uuid | undefined, limit: number): Promise<AuditEntry[]> {
    const { store } = this.#options.ledger
    // What cannot be written is not in the files that are read; what is there is told all the same.
    await store.flush().catch(() => {})
    return (await store.newest(image, limit)).map(auditEntryOf)
  }

  /** Signs the head now. @throws MirrorError STORE_BROKEN, STORE_FULL. */
  async head(): Promise<AuditHead> {
    const { ledger } = this.#options
    return auditHeadOf(await ledger.sign(), await ledger.store.publicKey())
  }

  /** Asks every upstream for its whole list, and for what we have from it and it does not list. @throws the signal's reason. */
  async compare(signal: AbortSignal): Promise<Comparison> {
    const held = new Map([...this.#options.held()].map((manifest) => [manifest.uuid, manifest]))
    const askedMs = Date.now()
    const discrepancies: Discrepancy[] = []
    const upstreams = await Promise.all(
      this.#options.upstreams.map(async (upstream) => {
        const { compared, error, found } = await this.#compareWith(upstream, held, signal)
        discrepancies.push(...found)
        return { name: upstream.name, compared, error }
      }),
    )
    signal.throwIfAborted()
    return { askedMs, imagesHeld: held.size, upstreams, discrepancies }
  }

  async #compareWith(upstream: Upstream, held: ReadonlyMap<Uuid, Manifest>, signal: AbortSignal) {
    const found: Discrepancy[] = []
    const unlisted = new Map(held)
    let compared = 0
    let error: string | null = null
    const compare = (claimed: Manifest | undefined, image: Manifest) => {
      if (claimed) compared++
      const differences = claimed ? identityDifferences(image, claimed) : ['the upstream has it no more']
      if (differences.length === 0) return
      const { name, uuid, version } = image
      found.push({
        upstream: upstream.name,
        uuid,
        name,
        version,
        differences,
        held: declaredFiles(image),
        claimed: claimed ? declaredFiles(claimed) : [],
      })
    }
    try {
      const listing = await upstream.listImages({ signal })
      if (listing !== 'unchanged') {
        error = listing.incomplete ?? null
        for (const { manifest } of listing.statements) {
          const image = held.get(manifest.uuid)
          if (image) compare(manifest, image)
          unlisted.delete(manifest.uuid)
        }
      }
      const mine = [...unlisted.values()].filter(({ uuid }) => this.#options.hasClaimed(upstream.name, uuid))
      await forEachConcurrently(mine, QUESTIONS_AT_ONCE, async (image) => {
        compare((await upstream.getImage(image.uuid, signal))?.manifest, image)
      })
    } catch (cause) {
      signal.throwIfAborted()
      error = cause instanceof Error ? cause.message : String(cause)
    }
    return { compared, error, found }
  }
}

export function auditEntryOf({ atMs, facts, image, kind, seq }: LedgerEntry): AuditEntry {
  return { seq, atMs, kind, image: image ?? null, facts }
}
