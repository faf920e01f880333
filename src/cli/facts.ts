import { printable } from './printable.js'

/** Lines of a name and what is said of it, with the values below one another. A value may have several lines. */
export function formatFacts(facts: readonly (readonly [name: string, value: string | readonly string[]])[]): string {
  const width = facts.reduce((most, [name]) => Math.max(most, name.length), 0)
  return facts
    .flatMap(([name, value]) => {
      const [first = '-', ...rest] = typeof value === 'string' ? [value] : value
      return [
        `${name.padEnd(width)}  ${printable(first)}`,
        ...rest.map((line) => `${' '.repeat(width)}  ${printable(line)}`),
      ]
    })
    .map((line) => `${line}\n`)
    .join('')
}

/** `1 file`, `2 files`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
