import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { inSlices } from '../../src/parts/in-slices.js'

it('gives all values in their order, and others a turn in between', async () => {
  const values = Array.from({ length: 5500 }, (_, place) => place)
  let turns = 0
  let isOver = false
  const others = (async () => {
    for (; !isOver; turns++) await nextTurn()
  })()
  const found: number[] = []
  for await (const value of inSlices(values)) found.push(value)
  isOver = true
  await others
  expect(found).toEqual(values)
  expect(turns).toBeGreaterThanOrEqual(5)
})
