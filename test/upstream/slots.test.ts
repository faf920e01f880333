import { describe, expect, it } from 'vitest'
import { Slots } from '../../src/upstream/slots.js'

const never = new AbortController().signal

describe('Slots', () => {
  it('gives each free place once, and then in the order of asking', async () => {
    const slots = new Slots(1, 10)
    const order: string[] = []
    const first = await slots.take(never)
    const waiting = ['a', 'b'].map(async (name) => {
      const giveBack = await slots.take(never)
      order.push(name)
      giveBack!()
    })
    expect(order).toEqual([])
    first!()
    first!() // harmless
    await Promise.all(waiting)
    expect(order).toEqual(['a', 'b'])
    expect(await slots.take(never)).toBeDefined()
  })

  it('serves clients before others, also those who have only just become such', async () => {
    const slots = new Slots(1, 10)
    const order: string[] = []
    const held = await slots.take(never)
    let joined: 'client' | 'background' = 'background'
    const waiting = (
      [
        ['background', 'background'],
        ['joined', () => joined],
        ['client', 'client'],
      ] as const
    ).map(async ([name, priority]) => {
      const giveBack = await slots.take(never, priority)
      order.push(name)
      giveBack!()
    })
    joined = 'client'
    held!()
    await Promise.all(waiting)
    expect(order).toEqual(['joined', 'client', 'background'])
  })

  it('never hands a place to one who has left', async () => {
    const slots = new Slots(1, 10)
    const held = await slots.take(never)
    const leaving = new AbortController()
    const left = slots.take(leaving.signal)
    leaving.abort(new Error('I am leaving'))
    await expect(left).rejects.toThrow('I am leaving')
    held!()
    expect(await slots.take(never)).toBeDefined()
    await expect(slots.take(leaving.signal)).rejects.toThrow('I am leaving')
  })

  it('turns away who would wait behind too many', async () => {
    const slots = new Slots(1, 1)
    const held = await slots.take(never)
    const second = slots.take(never)
    expect(await slots.take(never)).toBeUndefined()
    held!()
    expect(await second).toBeDefined()
  })
})
