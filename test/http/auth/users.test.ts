import { describe, expect, it } from 'vitest'
import { loadUsers } from '../../../src/http/auth/users.js'
import { makeSshKey } from '../../support/ssh-keys.js'
import { ALICE, sourceOf } from '../../support/users.js'

const names = Array.from({ length: 40 }, (_, place) => `nobody-${place}`)

describe('somebody whom we do not know', () => {
  const [one, two] = [makeSshKey(), makeSshKey('rsa')]
  const files: Record<string, string> = { one: one.line, two: two.line }
  const load = (...given: Parameters<typeof sourceOf>[0][]) =>
    loadUsers(given.map(sourceOf), async (path) => files[path]!)

  it('is refused with as much work as a user, the same each time for the same name', async () => {
    const carol = {
      name: 'carol',
      passwordHash: 'scrypt:32768:8:1:AAAAAAAAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    }
    const users = await load({ ...ALICE, sshKeyFiles: ['one'] }, { ...carol, sshKeyFiles: ['two'] })
    const hashes = names.map((name) => users.passwordHashFor(name))
    const keys = names.map((name) => users.keysFor(undefined, name))
    expect(new Set(hashes)).toEqual(new Set(users.all.map(({ passwordHash }) => passwordHash)))
    expect(new Set(keys)).toEqual(new Set(users.all.map((user) => user.keys)))
    expect(names.map((name) => users.passwordHashFor(name))).toEqual(hashes)
    expect(names.map((name) => users.keysFor(undefined, name))).toEqual(keys)
    // So that nobody can compute from a name which one it gets.
    const again = await load({ ...ALICE, sshKeyFiles: ['one'] }, { ...carol, sshKeyFiles: ['two'] })
    const costs = (each: typeof users) => names.map((name) => each.passwordHashFor(name)?.cost)
    expect(costs(again)).not.toEqual(costs(users))
  })

  it('is refused at once only where nobody has a password, or nobody a key', async () => {
    const users = await load({ name: 'dave', tokenHash: `sha256:${'0'.repeat(64)}` })
    expect(users.passwordHashFor('nobody')).toBeUndefined()
    expect(users.keysFor(undefined, 'nobody')).toEqual([])
  })

  it('may not share a key with somebody else', async () => {
    const sharing = load({ name: 'erin', sshKeyFiles: ['one'] }, { name: 'frank', sshKeyFiles: ['one'] })
    await expect(sharing).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/erin and frank/),
    })
  })
})
