import { describe, expect, it } from 'vitest'
import { Attempts, addressKey } from '../../../src/http/auth/attempts.js'
import { FakeClock } from '../../support/fake-clock.js'

describe('attempts', () => {
  it('are looked at up to a number, and again as they are forgotten', async () => {
    const clock = new FakeClock()
    const attempts = new Attempts({ most: 3, forgetEveryMs: 10_000 }, clock)
    for (const waitMs of [0, 0, 10_000, 20_000]) {
      attempts.fail('a')
      expect(attempts.waitMs('a')).toBe(waitMs)
    }
    expect(attempts.waitMs('b')).toBe(0)
    await clock.advance(19_999)
    expect(attempts.waitMs('a')).toBe(1)
    await clock.advance(1)
    expect(attempts.waitMs('a')).toBe(0)
    attempts.fail('a')
    expect(attempts.waitMs('a')).toBe(10_000)
    attempts.forgive('a')
    expect(attempts.waitMs('a')).toBe(0)
  })

  it('take no more memory however many try', () => {
    const attempts = new Attempts({ most: 1, forgetEveryMs: 10_000 }, new FakeClock())
    for (let place = 0; place <= 10_000; place += 1) attempts.fail(String(place))
    expect(attempts.waitMs('0')).toBe(0)
    expect(attempts.waitMs('10000')).toBe(10_000)
  })

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unix', 'unix'],
  ])('of %s count for %s', (address, key) => {
    expect(addressKey(address)).toBe(key)
  })
})
