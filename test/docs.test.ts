import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const pathOf = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const read = (path: string) => readFileSync(pathOf(path), 'utf8')

describe.each(['docs/protocols.md', 'docs/integrity.md'])('%s', (page) => {
  const proofs = [...read(page).matchAll(/`([a-z/.-]+)`: ([^|\n<]+)/g)].map(([, file, name]) => ({
    file: `test/${file}${file!.endsWith('.contract') ? '' : '.test'}.ts`,
    name: name!.trim().replace(/\.$/, ''),
  }))

  it('names tests that exist', () => {
    expect(proofs.length).toBeGreaterThan(30)
    const missing = proofs.filter(({ file, name }) => !existsSync(pathOf(file)) || !read(file).includes(name))
    expect(missing).toEqual([])
  })
})

describe('docs/decisions', () => {
  it('are all in the index, by number and first line', () => {
    const index = read('docs/decisions/README.md')
    const told = [...index.matchAll(/- (\[.+\]\(.+\))/g)].map(([, link]) => link)
    const decisions = readdirSync(pathOf('docs/decisions')).filter((file) => /^\d{4}-/.test(file))
    const titleOf = (file: string) => /^# (.+)\n/.exec(read(`docs/decisions/${file}`))?.[1]
    expect(told).toEqual(decisions.sort().map((file) => `[${titleOf(file)}](${file})`))
  })
})

describe('docs/deploying.md', () => {
  it('says of every directory of deploy/ what was tried of it', () => {
    const rows = read('docs/deploying.md')
      .split('\n')
      .filter((line) => line.startsWith('|'))
    const untold = readdirSync(pathOf('deploy')).filter(
      (name) => !rows.some((row) => row.includes(`\`deploy/${name}\``)),
    )
    expect(untold).toEqual([])
  })
})
