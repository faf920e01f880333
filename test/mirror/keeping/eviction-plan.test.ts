import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Uuid } from '../../../src/images/uuid.js'
import { type Departure, type Kept, type KeptImage, planEviction } from '../../../src/mirror/keeping/eviction-plan.js'

function image(name: string, more: Partial<KeptImage> & { sizeBytes?: number } = {}): KeptImage {
  const { sizeBytes = 10, ...rest } = more
  return {
    uuid: name as Uuid,
    ancestors: [],
    blobs: [{ sha256: `file of ${name}`, sizeBytes }],
    lastUsedMs: 0,
    mustStay: false,
    ...rest,
  }
}

function plan(images: KeptImage[], wantedBytes: number, more: Partial<Kept> = {}): readonly Departure[] {
  return planEviction({ images, strays: [], leftovers: [], ...more }, wantedBytes)
}

function uuids(departures: readonly Departure[]): (string | undefined)[] {
  return departures.map(({ uuid }) => uuid)
}

const [a, b] = ['a', 'b'] as Uuid[]

describe('what leaves when room is needed', () => {
  it('is nothing while none is needed', () => {
    expect(plan([image('a')], 0)).toEqual([])
  })

  it('is what was used longest ago, and no more than is needed', () => {
    const images = [image('a', { lastUsedMs: 3 }), image('b', { lastUsedMs: 1 }), image('c', { lastUsedMs: 2 })]
    expect(uuids(plan(images, 1))).toEqual(['b'])
    expect(uuids(plan(images, 11))).toEqual(['b', 'c'])
  })

  it('is the leaf before its origin, which goes by the last use of the leaf', () => {
    const images = [
      image('a', { lastUsedMs: 1 }),
      image('b', { lastUsedMs: 5, ancestors: [a!] }),
      image('c', { lastUsedMs: 3 }),
    ]
    expect(uuids(plan(images, 1))).toEqual(['c'])
    expect(uuids(plan(images, 30))).toEqual(['c', 'b', 'a'])
  })

  it('is no origin while a leaf needs it whose own origin in between is not kept', () => {
    const images = [image('a'), image('c', { ancestors: [b!, a!], lastUsedMs: 7 })]
    expect(uuids(plan(images, 1))).toEqual(['c'])
  })

  it('is nothing that must stay, and nothing that such a one builds on', () => {
    const images = [image('a'), image('b', { ancestors: [a!], mustStay: true }), image('c', { ancestors: [a!] })]
    expect(uuids(plan(images, 100))).toEqual(['c'])
  })

  it('is a shared blob only with the last image that needs it', () => {
    const blobs = [{ sha256: 'shared', sizeBytes: 10 }]
    const images = [image('a', { blobs, lastUsedMs: 1 }), image('b', { blobs, lastUsedMs: 2 })]
    expect(plan(images, 10)).toMatchObject([
      { uuid: 'a', sha256s: [], sizeBytes: 0 },
      { uuid: 'b', sha256s: ['shared'], sizeBytes: 10 },
    ])
  })

  it('is no image whose blob another one keeps here', () => {
    const blobs = [{ sha256: 'shared', sizeBytes: 10 }]
    const images = [image('a', { blobs }), image('b', { blobs, mustStay: true }), image('c', { lastUsedMs: 9 })]
    expect(uuids(plan(images, 10))).toEqual(['c'])
  })

  it('counts a blob once that an image has twice', () => {
    const blob = { sha256: 'twice', sizeBytes: 10 }
    expect(plan([image('a', { blobs: [blob, blob] })], 5)).toMatchObject([{ sha256s: ['twice'], sizeBytes: 10 }])
  })

  it('is at equal age first what was never finished, then what nobody knows, then images', () => {
    const more = {
      strays: [{ sha256: 'stray', sizeBytes: 10, lastUsedMs: 4 }],
      leftovers: [{ sizeBytes: 10, touchedMs: 4 }],
    }
    const kinds = plan([image('a', { lastUsedMs: 4 })], 30, more).map(({ kind }) => kind)
    expect(kinds).toEqual(['leftover', 'stray', 'image'])
  })
})

/** Images whose origins are among those before them, and which share a few blobs. No two things are of one age. */
const keptImages = fc
  .array(
    fc.record({
      origin: fc.option(fc.nat(11), { nil: undefined }),
      blobs: fc.uniqueArray(fc.nat(9), { minLength: 1, maxLength: 3 }),
      lastUsedMs: fc.nat(6),
      mustStay: fc.boolean(),
      isKept: fc.integer({ min: 0, max: 4 }).map((throwOfDice) => throwOfDice > 0),
    }),
    { maxLength: 12 },
  )
  .map((made): KeptImage[] => {
    const uuidAt = (index: number) => `image ${index}` as Uuid
    const ancestorsAt = (index: number): Uuid[] => {
      const origin = made[index]?.origin
      return origin === undefined || origin >= index ? [] : [uuidAt(origin), ...ancestorsAt(origin)]
    }
    return made.flatMap(({ blobs, lastUsedMs, mustStay, isKept }, index) =>
      isKept
        ? [
            {
              uuid: uuidAt(index),
              ancestors: ancestorsAt(index),
              blobs: blobs.map((blob) => ({ sha256: `blob ${blob}`, sizeBytes: (blob % 4) + 1 })),
              lastUsedMs: lastUsedMs * 20 + index,
              mustStay: mustStay && index % 3 === 0,
            },
          ]
        : [],
    )
  })

const strays = fc
  .uniqueArray(fc.record({ name: fc.nat(99), sizeBytes: fc.integer({ min: 1, max: 4 }), lastUsedMs: fc.nat(6) }), {
    selector: ({ name }) => name,
    maxLength: 3,
  })
  .map((made) =>
    made.map(({ name, sizeBytes, lastUsedMs }, index) => ({
      sha256: `stray ${name}`,
      sizeBytes,
      lastUsedMs: lastUsedMs * 20 + 12 + index,
    })),
  )
  .map((made) => made.toSorted((one, other) => one.lastUsedMs - other.lastUsedMs))
const leftovers = fc
  .array(fc.record({ sizeBytes: fc.integer({ min: 1, max: 4 }), touchedMs: fc.nat(6) }), { maxLength: 3 })
  .map((made) => made.map(({ sizeBytes, touchedMs }, index) => ({ sizeBytes, touchedMs: touchedMs * 20 + 15 + index })))

/**
 * The rules said the slow way: again and again the oldest thing is taken of all that nothing needs which is still there. A
 * chain is as old as the youngest thing that builds on it, counted at the beginning.
 */
function leavesOneByOne({ images, strays: unknown, leftovers: unfinished }: Kept, wantedBytes: number) {
  const there = new Set(images)
  const blobsThere = new Map<string, number>()
  for (const { blobs } of images) for (const { sha256, sizeBytes } of blobs) blobsThere.set(sha256, sizeBytes)
  const usedMs = (one: KeptImage) =>
    Math.max(...images.filter((other) => other === one || other.ancestors.includes(one.uuid)).map((o) => o.lastUsedMs))
  const others = [
    ...unfinished.map(({ sizeBytes, touchedMs: ms }) => ({ sizeBytes, ms })),
    ...[...unknown].map(({ sizeBytes, lastUsedMs: ms }) => ({ sizeBytes, ms })),
  ]
  const gone: KeptImage[] = []
  let freedBytes = 0
  while (freedBytes < wantedBytes) {
    const free = [...there].filter(
      (one) => !one.mustStay && ![...there].some((other) => other.ancestors.includes(one.uuid)),
    )
    const oldest = free.toSorted((x, y) => usedMs(x) - usedMs(y))[0]
    const older = others.toSorted((x, y) => x.ms - y.ms)[0]
    if (older && (!oldest || older.ms <= usedMs(oldest))) {
      others.splice(others.indexOf(older), 1)
      freedBytes += older.sizeBytes
    } else if (oldest) {
      there.delete(oldest)
      gone.push(oldest)
      for (const { sha256 } of oldest.blobs) {
        if ([...there].some(({ blobs }) => blobs.some((blob) => blob.sha256 === sha256))) continue
        freedBytes += blobsThere.get(sha256) ?? 0
        blobsThere.delete(sha256)
      }
    } else break
  }
  return { gone, freedBytes }
}

describe('the plan, for any images', () => {
  it('keeps what must stay, chains whole, and blobs as long as somebody needs them', () => {
    fc.assert(
      fc.property(keptImages, strays, leftovers, fc.nat(40), (images, someStrays, someLeftovers, wantedBytes) => {
        const departures = planEviction({ images, strays: someStrays, leftovers: someLeftovers }, wantedBytes)
        const gone = new Set(departures.flatMap(({ uuid }) => (uuid ? [uuid] : [])))
        const freed = departures.flatMap(({ sha256s }) => sha256s)
        expect(new Set(freed).size).toBe(freed.length)
        for (const { uuid, ancestors, blobs, mustStay } of images) {
          if (mustStay) expect(gone.has(uuid)).toBe(false)
          if (gone.has(uuid)) continue
          for (const each of ancestors) expect(gone.has(each)).toBe(false)
          for (const { sha256 } of blobs) expect(freed).not.toContain(sha256)
        }
        for (const [place, { uuid }] of departures.entries()) {
          const later = departures.slice(place + 1).map((departure) => departure.uuid)
          const needs = images.filter((each) => uuid && each.ancestors.includes(uuid)).map((each) => each.uuid)
          for (const each of needs) expect(later).not.toContain(each)
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('frees exactly what letting go one by one would free', () => {
    fc.assert(
      fc.property(keptImages, strays, leftovers, fc.nat(40), (images, someStrays, someLeftovers, wantedBytes) => {
        const kept = { images, strays: someStrays, leftovers: someLeftovers }
        const departures = planEviction(kept, wantedBytes)
        const freedBytes = departures.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
        const model = leavesOneByOne(kept, wantedBytes)
        expect(freedBytes).toBe(model.freedBytes)
      }),
      { numRuns: 2000 },
    )
  })
})
