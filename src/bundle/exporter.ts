import { randomBytes } from 'node:crypto'
import { isMirrorError, MirrorError } from '../errors.js'
import type { Uuid } from '../images/uuid.js'
import type { Carrying } from '../mirror/carrying.js'
import type { Job, JobProgress } from '../mirror/jobs.js'
import type { Operator } from '../mirror/operations/operations.js'
import type { Media, Medium } from '../store/medium.js'
import type { BundleExports, ExportPlan, ExportRequest, ExportResult, Lacking } from './bundles.js'
import { type Draft, type DraftQuestion, draftExport } from './draft-export.js'
import { failIfGone } from './fail-if-gone.js'
import { type Candidates, findSelected, findWanted } from './find-candidates.js'
import type { Inventory, Want } from './inventory.js'
import { parseInventory } from './parse-inventory.js'
import { PastExports } from './past-exports.js'
import type { PlannedVolume } from './plan-export.js'
import { ANYBODY, type Receiver } from './receiver.js'
import { receiverBy, receiverSince } from './receivers-of-mirror.js'
import { siteInventory } from './site-inventory.js'
import type { TrustedKeys } from './trusted-keys.js'
import { bytesToWrite, writeBundle } from './write-bundle.js'

export interface ExporterOptions {
  readonly mirror: Carrying
  readonly media: Media
  /** As they are configured now. */
  readonly terms: () => Promise<ExportTerms>
  /** What is awaited here still of bundles that came. */
  readonly lacking: () => readonly Lacking[]
}

/** Of the configuration. */
export interface ExportTerms {
  /** What this mirror is called. */
  readonly site: string
  readonly trustedKeys: TrustedKeys
  /** What its inventory wants. */
  readonly wanted: readonly Want[]
}

const PARITY_PERCENT = 10
/** Images that one entry of the ledger names. */
const IMAGES_AN_ENTRY = 200

/** What an export is to do, with all that was asked found out. */
interface Order {
  readonly request: ExportRequest
  readonly inventory: Inventory | undefined
  readonly receiver: Receiver
  readonly operator: Operator
}

/** What is drafted of an order, and what it would be on the medium. */
interface Prepared {
  readonly draft: Draft
  readonly plan: ExportPlan
  readonly volumes: readonly PlannedVolume[]
}

/** Packs what a receiver lacks, and carries it to a medium. */
export class Exporter implements BundleExports {
  readonly #options: ExporterOptions
  readonly #past: PastExports

  constructor(options: ExporterOptions) {
    this.#options = options
    this.#past = new PastExports(options.mirror.store.exports)
  }

  async inventory(wants: readonly Want[] = []): Promise<string> {
    const { wanted } = await this.#options.terms()
    return await this.#inventoryWith([...wanted, ...wants])
  }

  async request(): Promise<string> {
    const uuids = new Set(this.#options.lacking().flatMap(({ images }) => images.map(({ uuid }) => uuid)))
    return await this.#inventoryWith([...uuids].map((uuid) => ({ kind: 'image', uuid: uuid as Uuid })))
  }

  async plan(request: ExportRequest, operator: Operator, signal: AbortSignal): Promise<ExportPlan> {
    const order = await this.#orderOf(request, operator)
    const medium = await this.#look(order)
    return (await this.#prepare(order, medium, true, signal)).plan
  }

  startExport(request: ExportRequest, operator: Operator): Job {
    const { out } = request
    if (out === undefined) throw new MirrorError('QUERY_INVALID', 'an export needs a directory to write to')
    refuseFarPath(request, operator)
    refuseContradictions(request)
    const title = `export to ${out.slice(0, 256)}`
    return this.#options.mirror.jobs.start({ kind: 'export', title, by: operator.name }, (progress) =>
      this.#export(request, out, operator, progress),
    )
  }

  async #inventoryWith(wants: readonly Want[]): Promise<string> {
    const { mirror, terms } = this.#options
    const { site } = await terms()
    return await siteInventory(mirror, { site, atMs: Date.now(), salt: randomBytes, wants })
  }

  async #export(request: ExportRequest, out: string, operator: Operator, progress: JobProgress): Promise<ExportResult> {
    const { media, mirror } = this.#options
    const { signal } = progress
    const { parityPercent = PARITY_PERCENT } = request
    const order = await this.#orderOf(request, operator)
    const medium = await media.open(out, { isToBeWritten: true })
    let prepared = await this.#prepare(order, medium, true, signal)
    let release = this.#keep(prepared, operator)
    try {
      if (prepared.draft.missing.length > 0) {
        refuseWithoutRoom(await roomLacking(medium, prepared.volumes, parityPercent), out)
        // What cannot be had is left out of what is prepared then, with the reason.
        const failures = await mirror.pulls.pullFor(prepared.draft.missing, progress)
        const [before, releasePulled] = [prepared, release]
        prepared = await this.#prepare(order, medium, false, signal)
        prepared = afterPulling(prepared, before.plan, failures)
        release = this.#keep(prepared, operator)
        releasePulled()
      }
      const { draft, plan, volumes } = prepared
      const { bundle, contents } = draft
      if (!bundle) return { ...plan, writtenBytes: 0 }
      refuseWithoutRoom(await roomLacking(medium, prepared.volumes, parityPercent), out)
      await this.#past.begin(bundle.id, contents, bundle.index, Date.now())
      const begunMs = (await this.#past.begunMs(bundle.id))!
      await writeBundle({ ...{ mirror, medium, bundle, volumes, parityPercent, begunMs, progress } }).catch(
        async (error: unknown) => {
          if (isMirrorError(error, 'MEDIUM_UNREADABLE')) await failIfGone(medium)
          throw error
        },
      )
      this.#tell(prepared, order)
      return { ...plan, writtenBytes: volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) }
    } finally {
      release()
    }
  }

  /** What is asked for, checked. */
  async #orderOf(request: ExportRequest, operator: Operator): Promise<Order> {
    refuseFarPath(request, operator)
    refuseContradictions(request)
    const { mirror, terms } = this.#options
    const { trustedKeys } = await terms()
    const inventory = request.inventory === undefined ? undefined : parseInventory(request.inventory, trustedKeys)
    if (inventory && !inventory.isTrusted && !request.isUntrustedAllowed) {
      const by =
        inventory.key === undefined ? 'nobody has signed it' : `it says it is signed with the key ${inventory.key}`
      throw new MirrorError(
        'BUNDLE_UNTRUSTED',
        `the inventory of ${inventory.site} cannot be trusted: ${by}, and that is none of bundles.trustedKeys; add the key there, or allow it this once`,
      )
    }
    return { request, inventory, receiver: await this.#receiverOf(request, inventory, mirror), operator }
  }

  async #receiverOf(
    { sinceBundle, sinceMs }: ExportRequest,
    inventory: Inventory | undefined,
    mirror: Carrying,
  ): Promise<Receiver> {
    if (inventory) return receiverBy(inventory, mirror)
    if (sinceBundle !== undefined) return await this.#past.receiverOf(sinceBundle)
    return sinceMs === undefined ? ANYBODY : receiverSince(sinceMs, mirror)
  }

  /** The medium, as far as it is there already. */
  async #look({ request: { out } }: Order): Promise<Medium | undefined> {
    return out === undefined ? undefined : await this.#options.media.open(out)
  }

  async #prepare(order: Order, medium: Medium | undefined, mayPull: boolean, signal: AbortSignal): Promise<Prepared> {
    const { mirror, terms } = this.#options
    const { inventory, receiver, request } = order
    const { parityPercent = PARITY_PERCENT, series, volumeBytes } = request
    const { candidates, warnings } = await this.#candidates(order, signal)
    const question: DraftQuestion = {
      ...{ candidates, receiver, mayPull },
      said: {
        from: { site: (await terms()).site, key: (await mirror.store.signer()).key },
        for: inventory && {
          site: inventory.site,
          key: inventory.isTrusted ? inventory.key : undefined,
          inventory: inventory.sha256,
        },
        select: describeRequest(request),
      },
      form: { volumeBytes, parityPercent },
      placeOf: series === undefined ? undefined : (contents) => this.#past.placeOf(series, contents),
    }
    const draft = await draftExport(mirror, question, signal)
    const planned = draft.bundle?.volumes ?? []
    const volumes = planned.filter(({ volume }) => request.volumes?.includes(volume) ?? true)
    const beyond = request.volumes?.filter((volume) => volume > planned.length) ?? []
    if (beyond.length > 0 && planned.length > 0) {
      throw new MirrorError(
        'QUERY_INVALID',
        `there is no volume ${beyond.join(', ')}: the bundle has ${planned.length}`,
      )
    }
    const plan = await describePlan(
      { ...draft, warnings: [...warnings, ...draft.warnings] },
      volumes,
      medium,
      parityPercent,
    )
    return { draft, plan, volumes }
  }

  async #candidates({ inventory, request }: Order, signal: AbortSignal): Promise<Candidates> {
    const { mirror } = this.#options
    const { by = 'version', latest, select } = request
    if (select.length === 0 && inventory && inventory.wants.length > 0) {
      return await findWanted(mirror, inventory.wants, signal)
    }
    return await findSelected(mirror, { texts: select, latest, by }, signal)
  }

  /** None of these images leaves to make room as long as they are being exported. */
  #keep({ draft }: Prepared, { name }: Operator): () => void {
    const uuids = draft.images.map(({ manifest: { uuid } }) => uuid)
    return this.#options.mirror.pins.forNow(uuids, { by: name, text: 'being exported' })
  }

  #tell({ draft: { bundle, images }, volumes }: Prepared, { inventory, operator, request }: Order): void {
    const facts = {
      by: operator.name,
      bundle: bundle!.id,
      volumes: volumes.map(({ volume }) => volume),
      of: bundle!.volumes.length,
      ...(inventory && { for: inventory.site, isTrusted: inventory.isTrusted }),
      ...(request.series !== undefined && { series: request.series, number: bundle!.index.series!.number }),
    }
    const uuids = images.map(({ manifest: { uuid } }) => uuid)
    for (let first = 0; first === 0 || first < uuids.length; first += IMAGES_AN_ENTRY) {
      const some = uuids.slice(first, first + IMAGES_AN_ENTRY)
      this.#options.mirror.ledger.record('exported', undefined, { ...facts, images: some })
    }
  }
}

/** @throws MirrorError FORBIDDEN: what is on the disks of this machine is for whoever is on it to name. */
function refuseFarPath({ out }: ExportRequest, { isLocal }: Operator): void {
  if (out === undefined || isLocal) return
  throw new MirrorError('FORBIDDEN', 'a directory of this machine is for whoever is on it to name')
}

function refuseContradictions({ inventory, latest, parityPercent, sinceBundle, sinceMs }: ExportRequest): void {
  const since = [sinceMs, sinceBundle].filter((each) => each !== undefined)
  if (since.length > 1) throw new MirrorError('QUERY_INVALID', 'since a time, or since a bundle: not both')
  if (since.length > 0 && inventory !== undefined) {
    throw new MirrorError(
      'QUERY_INVALID',
      'an inventory says better than any date what is missing: leave out one of both',
    )
  }
  if (latest !== undefined && !(latest >= 1)) throw new MirrorError('QUERY_INVALID', 'latest: right is 1 or more')
  if (parityPercent !== undefined && !(parityPercent >= 0 && parityPercent <= 50)) {
    throw new MirrorError('QUERY_INVALID', 'parity: right is 0 to 50 per cent')
  }
}

/** How much room the medium lacks; 0 when there is enough. */
async function roomLacking(medium: Medium, volumes: readonly PlannedVolume[], parityPercent: number): Promise<number> {
  return Math.max(0, (await bytesToWrite(medium, volumes, parityPercent)) - (await medium.freeBytes()))
}

function refuseWithoutRoom(lackingBytes: number, out: string): void {
  if (lackingBytes === 0) return
  throw new MirrorError('MEDIUM_FULL', noRoom(lackingBytes, out))
}

function noRoom(lackingBytes: number, out: string): string {
  return `${out} lacks room for ${lackingBytes} bytes of it; free so many, choose a smaller --volume-size and some --volumes, or select less`
}

async function describePlan(
  { alreadyThere, bundle, images, missing, warnings }: Draft,
  written: readonly PlannedVolume[],
  medium: Medium | undefined,
  parityPercent: number,
): Promise<ExportPlan> {
  const volumes = bundle?.volumes ?? []
  const lackingBytes = medium ? await roomLacking(medium, written, parityPercent) : 0
  const bundled = new Map<string, number>()
  for (const { endBytes, sha256, startBytes } of bundle?.index.pieces ?? []) {
    bundled.set(sha256, (bundled.get(sha256) ?? 0) + endBytes - startBytes)
  }
  /** What several images have is counted for the first of them. */
  const take = (sha256: string) => {
    const bytes = bundled.get(sha256) ?? 0
    bundled.delete(sha256)
    return bytes
  }
  return {
    id: missing.length > 0 ? null : (bundle?.id ?? null),
    images: images.map(({ files, manifest: { name, uuid, version }, pulledBytes, why }) => ({
      ...{ uuid, name, version, pulledBytes, why },
      sizeBytes: sumOf(files.map(({ sizeBytes }) => sizeBytes)),
      bundledBytes: sumOf(files.map(({ sha256 }) => take(sha256))),
    })),
    volumes: volumes.map(({ directory, sizeBytes, volume }) => ({
      ...{ volume, directory, sizeBytes },
      isWritten: written.some((each) => each.volume === volume),
    })),
    sizeBytes: sumOf(volumes.map(({ sizeBytes }) => sizeBytes)),
    pulledBytes: sumOf(images.map(({ pulledBytes }) => pulledBytes)),
    freeBytes: medium ? await medium.freeBytes() : null,
    alreadyThere,
    warnings: lackingBytes > 0 ? [...warnings, noRoom(lackingBytes, medium!.path)] : warnings,
  }
}

/** With what was pulled, and why the rest was not. */
function afterPulling(prepared: Prepared, before: ExportPlan, failures: readonly MirrorError[]): Prepared {
  const pulled = new Map(before.images.map(({ pulledBytes, uuid }) => [uuid, pulledBytes]))
  const images = prepared.plan.images.map((image) => ({ ...image, pulledBytes: pulled.get(image.uuid) ?? 0 }))
  const warnings = [...prepared.plan.warnings, ...failures.map(({ message }) => `could not be pulled: ${message}`)]
  const pulledBytes = sumOf(images.map((image) => image.pulledBytes))
  return { ...prepared, plan: { ...prepared.plan, images, pulledBytes, warnings } }
}

/** For people who find the bundle. */
function describeRequest({ by = 'version', latest, select, sinceBundle, sinceMs }: ExportRequest): string[] {
  return [
    ...select,
    ...(latest === undefined ? [] : [`the newest ${latest} of each name, by ${by}`]),
    ...(sinceMs === undefined ? [] : [`held since ${new Date(sinceMs).toISOString()}`]),
    ...(sinceBundle === undefined ? [] : [`since bundle ${sinceBundle}`]),
  ]
}

function sumOf(amounts: readonly number[]): number {
  return amounts.reduce((sum, amount) => sum + amount, 0)
}
