import { expect, it } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { isOpenAt } from '../../src/parts/opening-hours.js'

const load = (text: string) => loadConfig({ path: '/etc/mirror.yaml', text, environment: {}, readFile: async () => '' })

it('understands a policy', async () => {
  const { prewarm } = await load(`
prewarm:
  - name: nightly
    match: ["name=~base-64"]
    latest: 2
    timezone: Europe/Berlin
    windows: ["22:00-05:00"]
    budget: 40GiB
    deadline: Mon 06:00
  - name: docker
    docker: ["library/alpine:newest:2"]
    budget: 1GiB`)
  const [nightly, docker] = prewarm
  expect(nightly).toMatchObject({
    name: 'nightly',
    latest: 2,
    by: 'version',
    priority: 0,
    budget: { bytes: 40 * 2 ** 30 },
  })
  expect(isOpenAt(nightly!.hours, Date.parse('2026-01-05T21:30:00Z'))).toBe(true)
  expect(isOpenAt(nightly!.hours, Date.parse('2026-01-05T20:30:00Z'))).toBe(false)
  expect(nightly!.budget!.renewal).toBe(nightly!.hours)
  // What never closes has a budget for each day.
  expect(isOpenAt(docker!.hours, 0)).toBe(true)
  expect(isOpenAt(docker!.budget!.renewal, Date.parse('2026-01-05T12:00:00Z'))).toBe(false)
})

it('complains of policies that want nothing, share a name, or name what there is not', async () => {
  const text = `
prewarm:
  - {name: one}
  - {name: one, match: ["os=smartos"], channels: [release]}
  - {name: two, match: ["os=smartos"], windows: ["22-5"], deadline: Monday, budget: 3}`
  const failure = await load(text).catch(String)
  expect(failure).toContain('prewarm[0]: wants nothing; right is a list under match, or under docker')
  expect(failure).toContain('prewarm[1].name: found "one", as in prewarm[0]; right is a name of its own')
  expect(failure).toContain('prewarm[1].channels[0]: found "release"; right is none, as there are no channels')
  expect(failure).toContain('prewarm[2].windows[0]: found "22-5"; right is a window such as')
  expect(failure).toContain('prewarm[2].deadline: found "Monday"; right is a moment of the week such as')
  expect(failure).toContain('prewarm[2].budget: found 3; right is a size with its unit')
})
