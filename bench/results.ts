import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Question, Result, Table } from './question.js'

/** One question's part of RESULTS.md. */
export function formatSection(
  number: number,
  { question, wish }: Question,
  { tables, verdicts, checks, notes = [] }: Result,
  circumstances: string,
): string {
  return [
    `## ${number}. ${question}`,
    `Wished: ${wish}`,
    ...tables.map(formatTable),
    [
      ...verdicts.map(({ wish, found, isMet }) => `- ${isMet ? 'met' : '**missed**'}: ${wish}: ${found}`),
      ...checks.map(({ what, isRight }) => `- ${isRight ? 'right' : '**WRONG**'}: ${what}`),
    ].join('\n'),
    ...notes,
    `_${circumstances}_`,
  ].join('\n\n')
}

function formatTable({ columns, rows }: Table): string {
  const widths = columns.map((column, place) => Math.max(column.length, ...rows.map((row) => row[place]!.length)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, place) => cell.padEnd(widths[place]!)).join(' | ')} |`
  return [line(columns), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

const HEADING = /^## (\d+)\. /m

/** Puts in what one question found; what the others have found stays as it was. */
export function writeResults(file: string, head: string, number: number, section: string): void {
  const before = existsSync(file) ? readFileSync(file, 'utf8').split(/^(?=## \d+\. )/m) : []
  const kept = before.flatMap((text): [number, string][] => {
    const number = HEADING.exec(text)?.[1]
    return number === undefined ? [] : [[Number(number), text.trim()]]
  })
  const all = [...new Map([...kept, [number, section] as const])].sort(([left], [right]) => left - right)
  writeFileSync(file, `${[head, ...all.map(([, text]) => text)].join('\n\n')}\n`)
}
