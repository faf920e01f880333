import { expect, it } from 'vitest'
import { UsedSignatures } from '../../../src/http/auth/used-signatures.js'
import { FakeClock } from '../../support/fake-clock.js'

it('lets a signature be used again for 10 s, from where it was used first, and then never again', async () => {
  const clock = new FakeClock()
  const used = new UsedSignatures(clock)
  expect(used.use('one', '192.0.2.1')).toBe(true)
  expect(used.use('one', '192.0.2.2')).toBe(false)
  expect(used.use('other', '192.0.2.2')).toBe(true)
  await clock.advance(10_000)
  expect(used.use('one', '192.0.2.1')).toBe(true)
  await clock.advance(1)
  expect(used.use('one', '192.0.2.1')).toBe(false)
  await clock.advance(589_998)
  expect(used.use('one', '192.0.2.1')).toBe(false) // a signature from 300 s ahead is good until now
})

it('takes no more memory however many are used', () => {
  const used = new UsedSignatures(new FakeClock())
  for (let place = 0; place <= 10_000; place += 1) used.use(String(place), 'x')
  expect(used.use('0', 'y')).toBe(true) // forgotten
  expect(used.use('10000', 'y')).toBe(false)
})
