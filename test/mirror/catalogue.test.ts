import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Claim } from '../../src/images/claim.js'
import { parseFilter } from '../../src/images/filter.js'
import type { Manifest } from '../../src/images/manifest.js'
import { Catalogue, type CatalogueOptions } from '../../src/mirror/catalogue.js'
import { ConflictPolicies } from '../../src/mirror/conflict-policies.js'
import type { Conflict } from '../../src/mirror/mirror.js'
import { image, MD5, SHA1, SHA256, uuid } from '../images/manifests.js'
import { RecordingLog } from '../support/recording-log.js'
import { claim, heldImage } from './claims.js'

const OTHER_SHA1 = 'f'.repeat(40)
const UUID = uuid(1)
const origin = uuid(7)

function file(changes: Record<string, unknown> = {}) {
  return { files: [{ sha1: SHA1, size: 10, compression: 'gzip', ...changes }] }
}

function makeCatalogue(options: Partial<CatalogueOptions> = {}) {
  const log = new RecordingLog()
  const found: Conflict[] = []
  const catalogue = new Catalogue({
    precedence: ['one', 'two', 'three'],
    withdrawn: 'list',
    log,
    onConflict: (conflict) => found.push(conflict),
    ...options,
  })
  return { catalogue, log, found, names: () => catalogue.listed().map(({ name }) => name) }
}

function withdrawn(one: Claim): Claim {
  return { ...one, withdrawnMs: 3000 }
}

describe('precedence', () => {
  it('lets the first upstream of the configuration win, whoever was heard first', () => {
    const { catalogue, names } = makeCatalogue()
    catalogue.hear([claim('two', image({ name: 'by-two' }))])
    expect(names()).toEqual(['by-two'])
    catalogue.hear([claim('three', image({ name: 'by-three' }))])
    expect(names()).toEqual(['by-two'])
    catalogue.hear([claim('one', image({ name: 'by-one' }))])
    expect(names()).toEqual(['by-one'])
    expect(catalogue.claimsOf(UUID).map(({ upstream }) => upstream)).toEqual(['one', 'two', 'three'])
  })

  it('passes to the next upstream when the first one withdraws, and back when it has the image again', () => {
    const { catalogue, names } = makeCatalogue()
    const first = claim('one', image({ name: 'by-one' }))
    catalogue.hear([first, claim('two', image({ name: 'by-two' }))])
    catalogue.hear([withdrawn(first)])
    expect(names()).toEqual(['by-two'])
    catalogue.hear([first])
    expect(names()).toEqual(['by-one'])
  })

  it('takes no notice of upstreams that are configured no more', () => {
    const { catalogue } = makeCatalogue()
    catalogue.hear([claim('gone', image())])
    expect(catalogue.find(UUID)).toBeUndefined()
    expect(catalogue.listed()).toEqual([])
  })
})

describe('a held image', () => {
  it.each([
    ['sha1', file({ sha1: OTHER_SHA1 })],
    ['size', file({ size: 11 })],
    ['origin', { origin }],
  ])('keeps its %s whatever the first upstream claims later', (_what, changes) => {
    const { catalogue } = makeCatalogue()
    const before = image({ name: 'held' })
    catalogue.hear([claim('one', before)])
    catalogue.hold(heldImage(before))
    catalogue.hear([claim('one', image({ name: 'other', ...changes }))])
    expect(catalogue.find(UUID)?.json).toBe(before.json)
    expect(catalogue.listed().map(({ json }) => json)).toEqual([before.json])
    expect(catalogue.conflicts()).toMatchObject([{ uuid: UUID, winner: 'the held image', loser: 'one' }])
  })

  it('takes over a new description from an upstream that means the same bytes', () => {
    const { catalogue, names } = makeCatalogue()
    catalogue.hold(heldImage(image({ name: 'held' })))
    catalogue.hear([claim('one', image({ name: 'renamed' }))])
    expect(names()).toEqual(['renamed'])
    expect(catalogue.conflicts()).toEqual([])
  })

  it('keeps its sha1 when the first upstream declares none any more', () => {
    const { catalogue } = makeCatalogue()
    const before = image(file())
    catalogue.hold(heldImage(before))
    catalogue.hear([claim('one', image(file({ sha1: '', md5: MD5 }))), claim('two', image({ ...file(), name: 'two' }))])
    expect(catalogue.find(UUID)?.name).toBe('two')
    expect(catalogue.find(UUID)?.files[0]?.digests).toEqual(before.files[0]?.digests)
  })

  it('is compared by what was measured of it, also where nothing was declared', () => {
    const { catalogue } = makeCatalogue()
    const bare = image({ ...file({ sha1: '' }), name: 'held' })
    const measured = image(file({ sha256: SHA256, md5: MD5 }))
    catalogue.hold(heldImage(bare), measured)
    catalogue.hear([claim('one', image({ ...file({ sha1: OTHER_SHA1 }), name: 'lie' }))])
    expect(catalogue.find(UUID)?.name).toBe('held')
    expect(catalogue.conflicts()).toHaveLength(1)
    expect(catalogue.offersOf(UUID)).toEqual([])
    catalogue.hear([claim('one', image({ ...file(), name: 'truth' }))])
    expect(catalogue.find(UUID)?.name).toBe('truth')
    expect(catalogue.conflicts()).toEqual([])
  })

  it('stays in the list when everybody has withdrawn it', () => {
    const { catalogue, names } = makeCatalogue({ withdrawn: 'list' })
    const only = claim('one', image())
    catalogue.hear([only])
    catalogue.hold(heldImage(only.manifest))
    catalogue.hear([withdrawn(only)])
    expect(names()).toEqual(['base'])
  })

  it('is hidden from the list then, if so configured, and still found by its uuid', () => {
    const { catalogue, names } = makeCatalogue({ withdrawn: 'hide' })
    const only = claim('one', image())
    catalogue.hear([only])
    catalogue.hold(heldImage(only.manifest))
    expect(names()).toEqual(['base'])
    catalogue.hear([withdrawn(only)])
    expect(names()).toEqual([])
    expect(catalogue.find(UUID)?.name).toBe('base')
    catalogue.hear([only])
    expect(names()).toEqual(['base'])
  })
})

describe('an image that is not held', () => {
  it('is gone when everybody has withdrawn it, but who had it is remembered', () => {
    const { catalogue, names } = makeCatalogue()
    const only = claim('one', image({ origin }))
    catalogue.hear([only])
    expect(catalogue.isOrigin(origin)).toBe(true)
    catalogue.hear([withdrawn(only)])
    expect(names()).toEqual([])
    expect(catalogue.find(UUID)).toBeUndefined()
    expect(catalogue.isOrigin(origin)).toBe(false)
    expect(catalogue.claimsOf(UUID)).toEqual([withdrawn(only)])
  })

  it('is found but not listed when it was only answered by uuid', () => {
    const { catalogue, names } = makeCatalogue()
    catalogue.hear([claim('one', image(), { isListed: false })])
    expect(catalogue.find(UUID)?.name).toBe('base')
    expect(names()).toEqual([])
    expect([...catalogue.listedBy('one')]).toEqual([])
  })
})

describe('claims that disagree', () => {
  const mine = claim('one', image(file()))
  const theirs = claim('two', image(file({ sha1: OTHER_SHA1 })), { firstHeardMs: 4321 })

  it('are kept, logged and counted, once each, and the winner stands', () => {
    const { catalogue, found, log } = makeCatalogue()
    catalogue.hear([theirs, mine])
    catalogue.hear([theirs, mine])
    const conflict = {
      uuid: UUID,
      winner: 'one',
      loser: 'two',
      differences: [`files[0] sha1 ${SHA1} or ${OTHER_SHA1}`],
      firstSeenMs: 4321,
    }
    expect(catalogue.conflicts()).toEqual([conflict])
    expect(found).toEqual([conflict])
    expect(log.lines).toEqual([{ level: 'warn', facts: conflict, message: expect.stringContaining('one stands') }])
    expect(catalogue.find(UUID)).toBe(mine.manifest)
  })

  it('are told anew when they disagree about something else', () => {
    const { catalogue, found } = makeCatalogue()
    catalogue.hear([mine, theirs])
    catalogue.hear([claim('two', image(file({ size: 99 })))])
    expect(found.map(({ differences }) => differences)).toEqual([
      [`files[0] sha1 ${SHA1} or ${OTHER_SHA1}`],
      ['files[0] size 10 or 99 bytes'],
    ])
    expect(catalogue.conflicts()).toHaveLength(1)
  })

  it('are a conflict no more once they agree', () => {
    const { catalogue } = makeCatalogue()
    catalogue.hear([mine, theirs])
    catalogue.hear([claim('two', image({ ...file(), name: 'same bytes' }))])
    expect(catalogue.conflicts()).toEqual([])
  })

  it('are a conflict no more when nobody has the image', () => {
    const { catalogue } = makeCatalogue()
    catalogue.hear([mine, theirs])
    catalogue.hear([withdrawn(mine)])
    expect(catalogue.conflicts()).toMatchObject([{ winner: 'two', loser: 'one' }])
    catalogue.hear([withdrawn(theirs)])
    expect(catalogue.conflicts()).toEqual([])
  })

  it('are never offered as a way to get the file', () => {
    const { catalogue } = makeCatalogue()
    const third = claim('three', image({ ...file(), name: 'third' }))
    catalogue.hear([mine, theirs, third])
    expect(catalogue.offersOf(UUID)).toEqual([mine, third])
    catalogue.hear([withdrawn(mine)])
    expect(catalogue.offersOf(UUID), 'the winner has changed').toEqual([theirs])
  })
})

it('offers those who withdrew an image last, since servers go on serving what they no longer list', () => {
  const { catalogue } = makeCatalogue()
  const [one, two] = [claim('one', image()), claim('two', image())]
  catalogue.hear([withdrawn(one), two])
  expect(catalogue.offersOf(UUID)).toEqual([two, withdrawn(one)])
})

describe('the list', () => {
  it('is in the order of publication, and the same array until it changes', () => {
    const { catalogue } = makeCatalogue()
    const at = (number: number, year: number) =>
      claim('one', image({ uuid: uuid(number), name: `at-${year}`, published_at: `${year}-01-01T00:00:00.000Z` }))
    catalogue.hear([at(1, 2015), at(2, 2013), at(3, 2014)])
    const before = catalogue.listed()
    expect(before.map(({ name }) => name)).toEqual(['at-2013', 'at-2014', 'at-2015'])
    expect(catalogue.listed()).toBe(before)
    catalogue.hear([at(4, 2012)])
    expect(catalogue.listed().map(({ name }) => name)).toEqual(['at-2012', 'at-2013', 'at-2014', 'at-2015'])
  })

  it('says of an incomplete chain which images it lacks', () => {
    const { catalogue } = makeCatalogue()
    const [base, middle, leaf] = [
      image({ uuid: uuid(1) }),
      image({ uuid: uuid(2), origin: uuid(1) }),
      image({ uuid: uuid(3), origin: uuid(2) }),
    ]
    catalogue.hear([claim('one', leaf), claim('one', middle)])
    const isHeld = (manifest: Manifest) => manifest !== middle
    expect(catalogue.lacks(leaf, isHeld, 100)).toEqual([uuid(2), uuid(1)])
    expect(catalogue.listedAndComplete(isHeld, 100)).toEqual([])
    catalogue.hear([claim('one', base)])
    expect(catalogue.lacks(leaf, () => true, 100)).toEqual([])
    expect(
      catalogue.lacks(leaf, () => true, 2),
      'too long',
    ).not.toEqual([])
  })
})

// A model that keeps what happened and works everything out again from the rules, one image at a time.

const NAMES = ['one', 'two', 'three'] as const

interface Variant {
  readonly bytes: 'a' | 'b'
  readonly declares: 'sha1' | 'sha256'
  readonly origin: number | undefined
  readonly name: string
}

const variant: fc.Arbitrary<Variant> = fc.record({
  bytes: fc.constantFrom('a', 'a', 'b'),
  declares: fc.constantFrom('sha1', 'sha1', 'sha256'),
  origin: fc.constantFrom(undefined, undefined, 5, 6),
  name: fc.constantFrom('x', 'y'),
})

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      upstream: fc.constantFrom(...NAMES),
      image: fc.integer({ min: 1, max: 2 }),
      variant,
      isListed: fc.boolean(),
      isWithdrawn: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ image: fc.integer({ min: 1, max: 2 }), variant, isHolding: fc.constant(true) }) },
)

const HEX = { a: 'a', b: 'b' }

function manifestOf(number: number, { bytes, declares, origin: from, name }: Variant): Manifest {
  const digest = { [declares]: HEX[bytes].repeat(declares === 'sha1' ? 40 : 64) }
  const files = [{ ...digest, size: bytes === 'a' ? 1 : 2, compression: 'none' }]
  return image({ uuid: uuid(number), name, files, ...(from && { origin: uuid(from) }) })
}

interface ModelClaim {
  readonly variant: Variant
  readonly isListed: boolean
  readonly isWithdrawn: boolean
}

class Model {
  readonly claims = new Map<string, ModelClaim>()
  readonly held = new Map<number, Variant>()

  constructor(readonly hides: boolean) {}

  answerFor(number: number) {
    const claims = NAMES.flatMap((upstream) => {
      const known = this.claims.get(`${number} ${upstream}`)
      return known ? [{ upstream: upstream as string, ...known }] : []
    })
    const held = this.held.get(number)
    const standing = claims.filter(({ isWithdrawn }) => !isWithdrawn)
    const isSameImage = (one: Variant, other: Variant) => one.bytes === other.bytes && one.origin === other.origin
    let winner: Variant | undefined = standing[0]?.variant
    if (held) {
      const candidates = [...standing, ...claims].map((each) => each.variant)
      winner = candidates.find((each) => isSameImage(each, held) && each.declares === held.declares) ?? held
    }
    const isListed =
      standing.some((each) => each.isListed) || (held !== undefined && (!this.hides || standing.length > 0))
    const disagreeing = winner ? claims.filter((each) => !isSameImage(each.variant, held ?? winner)) : []
    const agreeing = winner ? claims.filter((each) => isSameImage(each.variant, held ?? winner)) : []
    return {
      answer: winner && manifestOf(number, winner).json,
      listed: isListed && winner ? [manifestOf(number, winner).json] : [],
      losers: disagreeing.map(({ upstream }) => upstream),
      offers: [...agreeing.filter((each) => !each.isWithdrawn), ...agreeing.filter((each) => each.isWithdrawn)].map(
        ({ upstream }) => upstream,
      ),
      origin: winner?.origin,
    }
  }
}

it('follows the rules whatever is heard and held, in whatever order', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 25 }), (hides, steps) => {
      const { catalogue } = makeCatalogue({ withdrawn: hides ? 'hide' : 'list' })
      const model = new Model(hides)
      let listedBefore = ''
      for (const each of steps) {
        const revisionBefore = catalogue.revision
        const manifest = manifestOf(each.image, each.variant)
        if ('isHolding' in each) {
          catalogue.hold(heldImage(manifest))
          model.held.set(each.image, each.variant)
        } else {
          const { upstream, isListed, isWithdrawn } = each
          catalogue.hear([claim(upstream, manifest, { isListed, withdrawnMs: isWithdrawn ? 5 : undefined })])
          model.claims.set(`${each.image} ${upstream}`, each)
        }
        const expected = [1, 2].map((number) => model.answerFor(number))
        for (const [index, { answer, losers, offers }] of expected.entries()) {
          const id = uuid(index + 1)
          expect(catalogue.find(id)?.json).toBe(answer)
          const conflicts = catalogue.conflicts().filter((conflict) => conflict.uuid === id)
          expect(conflicts.map(({ loser }) => loser).sort()).toEqual([...losers].sort())
          expect(catalogue.offersOf(id).map(({ upstream }) => upstream)).toEqual(offers)
        }
        for (const number of [5, 6]) {
          expect(catalogue.isOrigin(uuid(number))).toBe(expected.some(({ origin: from }) => from === number))
        }
        const listed = expected.flatMap((each) => each.listed)
        expect(catalogue.listed().map(({ json }) => json)).toEqual(listed)
        const hasChanged = listed.join('\n') !== listedBefore
        expect(catalogue.revision !== revisionBefore, 'the revision changes exactly when the list does').toBe(
          hasChanged,
        )
        listedBefore = listed.join('\n')
      }
    }),
    { numRuns: 500 },
  )
})

it('stays cheap with 100,000 images of two upstreams', () => {
  const COUNT = 100_000
  const numbered = (number: number) => `${number.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`
  const manifests = Array.from({ length: COUNT }, (_, number) =>
    image({
      uuid: numbered(number),
      name: `image-${number % 300}`,
      published_at: new Date(1.5e12 + ((number * 7919) % COUNT) * 1000).toISOString(),
      ...(number % 3 === 0 && { origin: numbered(number + 1) }),
    }),
  )
  const claims = manifests.map((manifest) => claim('one', manifest))
  const claimsOfTwo = manifests.map((manifest) => claim('two', manifest))
  const figures: Record<string, string> = {}
  const measure = <Value>(what: string, work: () => Value): Value => {
    const startMs = performance.now()
    const value = work()
    figures[what] = `${Math.round(performance.now() - startMs)} ms`
    return value
  }
  const { catalogue } = makeCatalogue()
  const heapBefore = process.memoryUsage().heapUsed
  measure('hear the first', () => catalogue.hear(claims))
  measure('list, sorted', () => catalogue.listed())
  measure('hear the second', () => catalogue.hear(claimsOfTwo))
  measure('hear all again', () => catalogue.hear(claims))
  measure('who is an origin', () => catalogue.isOrigin(manifests[1]!.uuid))
  measure('which are complete', () => catalogue.listedAndComplete(() => true, 100))
  measure('one more, listed again', () => {
    catalogue.hear([claim('one', image({ uuid: numbered(COUNT) }))])
    return catalogue.listed()
  })
  figures.heap = `${Math.round((process.memoryUsage().heapUsed - heapBefore) / 2 ** 20)} MiB besides claims`
  console.info('catalogue of 100,000:', figures)
  expect(catalogue.count()).toEqual({ listed: COUNT + 1, withheld: 0 })
  const overrides = [{ text: 'name=image-0', filter: parseFilter('name=image-0'), policy: 'withhold' as const }]
  const policies = new ConflictPolicies({ policy: { quorum: 2 }, overrides })
  const strict = makeCatalogue({ policies }).catalogue
  measure('hear the first, who are too few', () => strict.hear(claims))
  expect(strict.count().withheld).toBe(COUNT - Math.ceil(COUNT / 300))
  measure('list what builds on nothing withheld', () => strict.listed())
  measure('files nobody may have', () => strict.withheldFiles())
  measure('hear the second, who make a quorum', () => strict.hear(claimsOfTwo))
  measure('list them all', () => strict.listed())
  console.info('with a quorum of two, and a filter:', figures)
  expect(strict.count()).toEqual({ listed: COUNT, withheld: 0 })
})
