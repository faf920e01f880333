import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { PasswordChecks } from '../../../src/http/auth/password-checks.js'
import { loadUsers } from '../../../src/http/auth/users.js'
import { FakeClock } from '../../support/fake-clock.js'
import { ALICE, sourceOf } from '../../support/users.js'

async function makeChecks(...users: Parameters<typeof sourceOf>[0][]) {
  const clock = new FakeClock()
  const none = async () => ''
  return { clock, checks: new PasswordChecks(await loadUsers(users.map(sourceOf), none), clock) }
}

const free = () => {}

describe('a password', () => {
  it.each([
    ['a user', 'alice'],
    ['somebody whom we do not know', 'mallory'],
    ['a user who has none', 'bob'],
  ])('that is wrong is worked on before it is refused, for %s', async (_who, name) => {
    const { checks } = await makeChecks(ALICE, { name: 'bob', tokenHash: `sha256:${'0'.repeat(64)}` })
    let isDone = false
    const check = checks.check(name, 'wrong', free).finally(() => {
      isDone = true
    })
    // Whatever needs no work is over by then; 16 MiB of scrypt are not.
    await nextTurn()
    expect(isDone).toBe(false)
    expect(await check).toBeUndefined()
  })

  it('that was right is known for 10 minutes, and a wrong one never', async () => {
    const { checks, clock } = await makeChecks(ALICE)
    await checks.check('alice', 'wrong', free)
    expect(checks.proven('alice', 'wrong')).toBeUndefined()
    expect((await checks.check('alice', 'geheim', free))?.name).toBe('alice')
    expect(checks.proven('alice', 'geheim')?.name).toBe('alice')
    expect(checks.proven('alice', 'geheimer')).toBeUndefined()
    await clock.advance(10 * 60_000 - 1)
    expect(checks.proven('alice', 'geheim')?.name).toBe('alice')
    await clock.advance(1)
    expect(checks.proven('alice', 'geheim')).toBeUndefined()
  })

  it('waits its turn behind 32 others at most, two being worked on', async () => {
    const { checks } = await makeChecks(ALICE)
    const wrong = Array.from({ length: 33 }, (_, place) => checks.check('alice', `wrong ${place}`, free))
    expect(checks.isCrowded).toBe(false)
    wrong.push(checks.check('alice', 'one more', free))
    await nextTurn()
    expect(checks.isCrowded).toBe(true)
    await Promise.all(wrong)
    expect(checks.isCrowded).toBe(false)
  })
})
