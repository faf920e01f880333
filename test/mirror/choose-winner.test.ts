import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Claim } from '../../src/images/claim.js'
import type { ConflictPolicy } from '../../src/images/conflict-policy.js'
import { parseFilter } from '../../src/images/filter.js'
import { identityDifferences } from '../../src/images/identity.js'
import { chooseWinner, type Held } from '../../src/mirror/choose-winner.js'
import { ConflictPolicies } from '../../src/mirror/conflict-policies.js'
import { image, MD5, SHA1, uuid } from '../images/manifests.js'
import { claim, heldImage } from './claims.js'

const OTHER_SHA1 = 'f'.repeat(40)
const file = (changes: Record<string, unknown> = {}) => ({ files: [{ sha1: SHA1, size: 10, ...changes }] })
const right = image(file())
const wrong = image(file({ sha1: OTHER_SHA1 }))

function withdrawn(each: Claim): Claim {
  return { ...each, withdrawnMs: 9 }
}

function choose(policy: ConflictPolicy, claims: readonly Claim[], held?: Held, voices?: ReadonlyMap<string, string>) {
  const { winner, withheld } = chooseWinner(claims, held, new ConflictPolicies({ policy, ...(voices && { voices }) }))
  return winner?.name ?? withheld?.why
}

const heldRight: Held = { image: heldImage(right), measured: right }

describe('first-seen', () => {
  it('lets stand what was heard first, whatever the order', () => {
    const early = claim('two', right, { firstHeardMs: 5 })
    expect(choose('first-seen', [claim('one', wrong), early])).toBe('two')
  })

  it('is inherited by who says the same, when the first withdraws', () => {
    const early = withdrawn(claim('two', right, { firstHeardMs: 5 }))
    expect(choose('first-seen', [claim('one', wrong), early, claim('three', right)])).toBe('three')
  })

  it('gives nobody the image of a later claim because the first withdrew', () => {
    const early = withdrawn(claim('two', right, { firstHeardMs: 5 }))
    expect(choose('first-seen', [claim('one', wrong), early])).toBe(
      `it was heard first from two, which has withdrawn it, and one claims something else: files[0] sha1 ${SHA1} or ${OTHER_SHA1}`,
    )
  })

  it('goes by order where two were heard at once', () => {
    expect(choose('first-seen', [claim('one', wrong), claim('two', right)])).toBe('one')
  })
})

describe('withhold', () => {
  it('lets the first stand while nobody disagrees', () => {
    expect(choose('withhold', [claim('one', right), claim('two', right)])).toBe('one')
  })

  it('withholds an image that any two disagree about, saying who and in what', () => {
    expect(choose('withhold', [claim('one', right), claim('two', right), claim('three', wrong)])).toBe(
      `one and three disagree: files[0] sha1 ${SHA1} or ${OTHER_SHA1}`,
    )
  })

  it('sees a dispute between two that the first, who declares less, agrees with', () => {
    const vague = image(file({ sha1: '', md5: MD5 }))
    expect(choose('withhold', [claim('one', vague), claim('two', right), claim('three', wrong)])).toMatch(
      /^two and three disagree/,
    )
  })

  it('withholds a held image too, until who disagrees withdraws', () => {
    const dissent = claim('two', wrong)
    expect(choose('withhold', [claim('one', right), dissent], heldRight)).toMatch(/^two disagrees with the held image/)
    expect(choose('withhold', [claim('one', right), withdrawn(dissent)], heldRight)).toBe('the held image')
  })
})

describe('quorum', () => {
  const two: ConflictPolicy = { quorum: 2 }

  it('lets stand what enough agree on, against the first in order', () => {
    expect(choose(two, [claim('one', wrong), claim('two', right), claim('three', right)])).toBe('two')
  })

  it('withholds what too few tell of, also without a dispute', () => {
    expect(choose(two, [claim('one', right)])).toBe('2 voices must agree on it, and these do: one')
  })

  it('counts mirrors of one another once', () => {
    const voices = new Map([
      ['one', 'joyent'],
      ['two', 'joyent'],
    ])
    const claims = [claim('one', right), claim('two', right)]
    expect(choose(two, claims, undefined, voices)).toBe('2 voices must agree on it, and these do: joyent')
    expect(choose(two, [...claims, claim('three', right)], undefined, voices)).toBe('one')
  })

  it('takes no size alone for agreement', () => {
    const vague = image(file({ sha1: '', md5: MD5 }))
    expect(choose(two, [claim('one', right), claim('two', vague)])).toMatch(/^2 voices/)
  })

  it('withholds an image when two parties both have enough', () => {
    const claims = [claim('one', right), claim('two', right), claim('three', wrong), claim('four', wrong)]
    expect(choose(two, claims)).toMatch(/^2 voices agree on one image, and 2 on another, which is the one of three/)
  })

  it('counts for a held image who has withdrawn it since, and for another not', () => {
    const claims = [claim('one', right), withdrawn(claim('two', right))]
    expect(choose(two, claims, heldRight)).toBe('the held image')
    expect(choose(two, claims)).toMatch(/^2 voices/)
  })

  it('puts nothing in the place of a held image, however many agree on that', () => {
    const claims = [claim('one', wrong), claim('two', wrong)]
    expect(choose(two, claims, heldRight)).toBe('2 voices must agree on it, and none does')
  })
})

describe('an upstream that alone is believed', () => {
  const two: ConflictPolicy = { upstream: 'two' }

  it('decides, whatever the order', () => {
    expect(choose(two, [claim('one', wrong), claim('two', right)])).toBe('two')
  })

  it('leaves nothing to others when it has not told of the image, or has withdrawn it', () => {
    expect(choose(two, [claim('one', right)])).toBe('only two is believed, which has not told of it')
    expect(choose(two, [claim('one', right), withdrawn(claim('two', right))])).toBe(
      'only two is believed, which has withdrawn it',
    )
  })

  it('has a held image withheld that is not what it claims, and replaces it by nothing', () => {
    expect(choose(two, [claim('two', wrong)], heldRight)).toMatch(/what is held is not what it claims/)
    expect(choose(two, [claim('one', wrong), withdrawn(claim('two', right))], heldRight)).toBe('the held image')
  })
})

describe('overrides', () => {
  const policies = new ConflictPolicies({
    policy: 'withhold',
    overrides: [
      { text: 'name=base', filter: parseFilter('name=base'), policy: 'prefer-order' },
      { text: 'os=smartos', filter: parseFilter('os=smartos'), policy: { quorum: 3 } },
      { text: uuid(2), filter: parseFilter(`uuid=${uuid(2)}`), policy: { upstream: 'two' } },
    ],
  })
  it('go by uuid first, then by the first filter that fits, and else there is what holds for all', () => {
    expect(policies.for(image({ uuid: uuid(2) }))).toEqual({
      policy: { upstream: 'two' },
      from: `conflictOverrides: "${uuid(2)}"`,
    })
    expect(policies.for(image()).from).toBe('conflictOverrides: "name=base"')
    expect(policies.for(image({ name: 'x' })).policy).toEqual({ quorum: 3 })
    expect(policies.for(image({ name: 'x', os: 'linux' }))).toEqual({ policy: 'withhold', from: 'conflicts' })
  })

  it('cannot be chosen by who comes behind the first upstream', () => {
    const [first, second] = [image({ ...file(), name: 'x', os: 'linux' }), image(file({ sha1: OTHER_SHA1 }))]
    const { withheld } = chooseWinner([claim('one', first), claim('two', second)], undefined, policies)
    expect(withheld).toMatchObject({ policy: 'withhold', from: 'conflicts' })
  })
})

it('lets what was published here stand under every policy', () => {
  const published = heldImage(right)
  const held = { image: { ...published, publication: {} as never }, measured: right }
  for (const policy of ['prefer-order', 'first-seen', 'withhold', { quorum: 9 }, { upstream: 'one' }] as const) {
    expect(choose(policy, [claim('one', wrong), claim('two', wrong)], held)).toBe('the image published here')
  }
})

const anyPolicy: fc.Arbitrary<ConflictPolicy> = fc.constantFrom<ConflictPolicy>(
  'prefer-order',
  'first-seen',
  'withhold',
  { quorum: 2 },
  { quorum: 3 },
  { upstream: 'c' },
)
const anyManifest = fc
  .record({
    digest: fc.constantFrom(
      { sha1: SHA1 },
      { sha1: SHA1 },
      { sha1: OTHER_SHA1 },
      { sha1: '', md5: MD5 },
      { sha1: SHA1, md5: MD5 },
    ),
    size: fc.constantFrom(10, 10, 11),
    origin: fc.constantFrom(undefined, undefined, uuid(7)),
  })
  .map(({ digest, size, origin }) => image({ ...file({ ...digest, size }), ...(origin && { origin }) }))
const anyClaims = fc.uniqueArray(
  fc.record({
    upstream: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    manifest: anyManifest,
    firstHeardMs: fc.integer({ min: 1, max: 3 }),
    isWithdrawn: fc.boolean(),
  }),
  { selector: ({ upstream }) => upstream },
)

it('keeps what each policy promises, whatever is claimed and held', () => {
  const same = (one: Claim['manifest'], other: Claim['manifest']) => identityDifferences(one, other).length === 0
  const voices = new Map([
    ['d', 'a'],
    ['e', 'a'],
  ])
  fc.assert(
    fc.property(anyPolicy, anyClaims, fc.option(anyManifest), (policy, drawn, heldManifest) => {
      const claims = drawn.map(({ isWithdrawn, manifest, upstream, ...rest }) =>
        claim(upstream, manifest, { ...rest, withdrawnMs: isWithdrawn ? 5 : undefined }),
      )
      const standing = claims.filter(({ withdrawnMs }) => withdrawnMs === undefined)
      const held = heldManifest ? { image: heldImage(heldManifest), measured: heldManifest } : undefined
      const { winner, withheld } = chooseWinner(claims, held, new ConflictPolicies({ policy, voices }))
      expect(winner !== undefined && withheld !== undefined, 'one or the other').toBe(false)
      expect(winner === undefined && withheld === undefined, 'nobody has it').toBe(!held && standing.length === 0)
      if (winner && held) expect(same(winner.identity, held.measured), 'a held image keeps its identity').toBe(true)
      if (winner && !held) expect(standing.map(({ manifest }) => manifest)).toContain(winner.manifest)
      const all = [...(held ? [held.measured] : []), ...standing.map(({ manifest }) => manifest)]
      const isDisputed = all.some((one) => all.some((other) => !same(one, other)))
      if (policy === 'prefer-order') expect(withheld).toBeUndefined()
      if (policy === 'prefer-order' && !held) expect(winner?.manifest).toBe(standing[0]?.manifest)
      if (policy === 'withhold' && held) {
        const isContested = standing.some(({ manifest }) => !same(manifest, held.measured))
        expect(withheld !== undefined).toBe(isContested)
      }
      if (policy === 'withhold' && !held) expect(withheld !== undefined).toBe(isDisputed)
      if (policy === 'first-seen' && winner && !held) {
        const firstMs = Math.min(...claims.map(({ firstHeardMs }) => firstHeardMs))
        const first = claims.find(({ firstHeardMs }) => firstHeardMs === firstMs)!
        expect(same(winner.identity, first.manifest)).toBe(true)
      }
      if (typeof policy === 'object' && 'quorum' in policy) {
        const speakers = (held ? claims : standing).filter(({ manifest }) => winner && same(manifest, winner.identity))
        const counted = new Set(speakers.map(({ upstream }) => voices.get(upstream) ?? upstream))
        if (winner) expect(counted.size).toBeGreaterThanOrEqual(policy.quorum)
      }
      if (typeof policy === 'object' && 'upstream' in policy && winner) {
        expect(claims.some(({ upstream, manifest }) => upstream === 'c' && same(manifest, winner.identity))).toBe(true)
      }
    }),
    { numRuns: 3000 },
  )
})
