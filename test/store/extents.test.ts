import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Extent } from '../../src/store/blob-store.js'
import { Extents } from '../../src/store/extents.js'

const SIZE = 60

/** The simplest thing that could be right: who gave each byte. */
type Model = (string | undefined)[]

function extentsOf(model: Model): Extent[] {
  const found: Extent[] = []
  model.forEach((upstream, at) => {
    if (upstream === undefined) return
    const last = found.at(-1)
    if (last?.endBytes === at && last.upstream === upstream) found[found.length - 1] = { ...last, endBytes: at + 1 }
    else found.push({ startBytes: at, endBytes: at + 1, upstream, location: 'here' })
  })
  return found
}

function endOfRunAt(model: Model, position: number): number {
  let end = position
  while (model[end] !== undefined) end++
  return end
}

const range = fc
  .tuple(fc.nat(SIZE), fc.nat(SIZE))
  .map(([one, other]) => [Math.min(one, other), Math.max(one, other)] as const)
const upstream = fc.constantFrom('east', 'west')
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('add' as const), range, upstream }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('replace' as const), range, upstream }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate' as const), range, upstream }) },
)

describe('Extents', () => {
  it('are what a list of every byte would say, whatever is added, replaced and cut', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const extents = new Extents()
        const model: Model = Array(SIZE).fill(undefined)
        for (const {
          kind,
          range: [startBytes, endBytes],
          upstream,
        } of steps) {
          const extent = { startBytes, endBytes, upstream, location: 'here' }
          const isHere = model.slice(startBytes, endBytes).map((by) => by !== undefined)
          expect(extents.overlaps(startBytes, endBytes)).toBe(isHere.includes(true))
          if (kind === 'truncate') {
            extents.truncate(startBytes)
            model.fill(undefined, startBytes)
          } else if (kind === 'add' && isHere.includes(true)) {
            expect(() => extents.add(extent)).toThrow('here already')
          } else if (kind === 'add' || !isHere.includes(false)) {
            if (kind === 'add') extents.add(extent)
            else extents.replace(extent)
            model.fill(upstream, startBytes, endBytes)
          }
          expect(extents.list).toEqual(extentsOf(model))
          expect(extents.totalBytes).toBe(model.filter((by) => by !== undefined).length)
          expect(extents.prefixBytes).toBe(endOfRunAt(model, 0))
          for (let at = 0; at <= SIZE; at++) expect(extents.endOfRunAt(at)).toBe(endOfRunAt(model, at))
        }
        expect(new Extents(extents.list).list).toEqual(extents.list)
      }),
      { numRuns: 200 },
    )
  })

  it('keeps two urls of one upstream apart', () => {
    const extents = new Extents()
    extents.add({ startBytes: 0, endBytes: 1, upstream: 'east', location: 'here' })
    extents.add({ startBytes: 1, endBytes: 2, upstream: 'east', location: 'there' })
    expect(extents.list).toHaveLength(2)
  })
})
