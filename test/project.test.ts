import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const tracked = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' }).trim().split('\n')
const manifest = JSON.parse(read('package.json'))
const lock: Record<string, { version?: string; dev?: boolean; resolved?: string; engines?: { node?: string } }> =
  JSON.parse(read('package-lock.json')).packages

/** The oldest Node we promise to run on. */
const OLDEST = [20, 19, 0] as const

describe('the project', () => {
  it('runs on the oldest Node it promises, with every package it needs', () => {
    expect(manifest.engines.node).toBe('>=20.19')
    const refusing = Object.entries(lock)
      .filter(([path, { dev }]) => path !== '' && !dev)
      .map(([path]) => ({ path, node: JSON.parse(read(join(path, 'package.json'))).engines?.node }))
      .filter(({ node }) => typeof node === 'string' && !admitsOldest(node))
    expect(refusing).toEqual([])
  })

  it('installs from whatever registry its user has: the lock file names none', () => {
    expect(Object.entries(lock).filter(([, { resolved }]) => resolved !== undefined)).toEqual([])
  })

  it('names no path of the machine it was written on', () => {
    // Put together here, so that this file does not find itself.
    const homes = new RegExp(`(^|[\\s"'\`(=:])/(${['work', 'home', 'Users', 'farm'].join('|')})/[a-z]`, 'm')
    const naming = tracked.filter((path) => {
      if (!existsSync(join(root, path)) || path.startsWith('test/vectors/') || path === 'package-lock.json')
        return false
      return homes.test(read(path))
    })
    expect(naming).toEqual([])
  })

  it('has every command its README tells of', () => {
    const told = [...read('README.md').matchAll(/npm run ([a-z:-]+)/g)].map(([, script]) => script!)
    expect(told.length).toBeGreaterThan(0)
    expect(told.filter((script) => !(script in manifest.scripts))).toEqual([])
    expect(manifest.scripts).toMatchObject({ start: expect.any(String), test: expect.any(String) })
  })

  it('names in its README every package of Debian that its tests want', () => {
    const [, programs] = /PROGRAMS = \{([^}]*)\}/.exec(read('scripts/test.mjs'))!
    const packages = new Set([...programs!.matchAll(/: '([^']+)'/g)].map(([, name]) => name!))
    const [, told] = /Debian's packages \(([^)]*)\)/.exec(read('README.md'))!
    expect(told!.split(/,\s+/).sort()).toEqual([...packages].sort())
  })

  it('has every file its documents link to', () => {
    const documents = tracked.filter((path) => path.endsWith('.md'))
    const broken = documents.flatMap((path) =>
      [...read(path).matchAll(/\]\((?!https?:|#)([^)#]+)/g)]
        .map(([, target]) => join(path, '..', target!))
        .filter((target) => !existsSync(join(root, target)))
        .map((target) => `${path} links to ${target}`),
    )
    expect(broken).toEqual([])
  })
})

/** The forms that packages use: `>=20`, `^20.19 || >=22`, `18 || 20 || >=22`, `>= 16 < 25`, `*`. */
function admitsOldest(range: string): boolean {
  return range.split('||').some((alternative) =>
    [...alternative.matchAll(/([<>]=?|=|\^|~)?\s*v?(\d+|\*|x)(?:\.(\d+|\*|x))?(?:\.(\d+|\*|x))?/g)].every(
      ([, operator = '', ...numbers]) => {
        const given = numbers.filter((number) => number !== undefined && /\d/.test(number)).map(Number)
        const order = compare(OLDEST, given)
        if (operator.startsWith('>')) return operator === '>=' ? order >= 0 : compareWhole(OLDEST, given) > 0
        if (operator.startsWith('<')) return operator === '<=' ? order <= 0 : compareWhole(OLDEST, given) < 0
        if (operator === '^') return order >= 0 && OLDEST[0] === given[0]
        if (operator === '~') return order >= 0 && OLDEST[0] === given[0] && (given[1] ?? OLDEST[1]) === OLDEST[1]
        return order === 0
      },
    ),
  )
}

/** Over the numbers that were given: 20.19.0 equals `20`. */
function compare(version: readonly number[], given: readonly number[]): number {
  for (const [index, number] of given.entries()) {
    const difference = version[index]! - number
    if (difference !== 0) return difference
  }
  return 0
}

/** With the missing numbers as 0: 20.19.0 is more than `20`. */
function compareWhole(version: readonly number[], given: readonly number[]): number {
  return compare(version, [...given, 0, 0, 0].slice(0, 3))
}
