import { printable } from './printable.js'

/**
 * Lines of a name and what is said of it, with the values below one another. A value may have several lines.
 * @param columns how wide the terminal is; longer lines go on below. As long as they are, without it.
 */
export function formatFacts(
  facts: readonly (readonly [name: string, value: string | readonly string[]])[],
  columns = Number.POSITIVE_INFINITY,
): string {
  const width = facts.reduce((most, [name]) => Math.max(most, name.length), 0) + 2
  return facts
    .flatMap(([name, value]) =>
      (typeof value === 'string' ? [value] : value)
        .flatMap((line) => wrap(printable(line), columns - width))
        .map((line, index) => `${(index === 0 ? name : '').padEnd(width)}${line}\n`),
    )
    .join('')
}

/** At blanks; what has none is not torn apart. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}

/** Lines of text on a terminal: what is too long goes on below, a little further in than it began. */
export function fitText(text: string, columns = Number.POSITIVE_INFINITY): string {
  return text
    .split('\n')
    .flatMap((line) => {
      if (line.length <= columns) return [line]
      const indent = /^ */.exec(line)![0]
      const [first = '', ...others] = wrap(line.trimStart(), columns - indent.length - 2)
      return [`${indent}${first}`, ...others.map((other) => `${indent}  ${other}`)]
    })
    .join('\n')
}

/** `1 file`, `2 files`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
