import type { Command, OptionValues } from '@commander-js/extra-typings'
import { closestWord } from '../parts/closest-word.js'
import { CommandFailure, MISUSED } from './command.js'
import { printable } from './printable.js'
import type { Surroundings } from './surroundings.js'

/** What a row may say under a column: `undefined` and null are shown as `-`, and sort behind everything. */
type Cell = string | number | boolean | undefined | null

export interface Column<Row> {
  /** As `-o` and `-s` know it, in lower case; the header is the same in capitals. */
  readonly name: string
  /** What else imgadm calls it; `-o` and `-s` know that too. */
  readonly aliases?: readonly string[]
  /** What it is sorted by, and shown as if nothing else is said. */
  readonly value: (row: Row) => Cell
  /** How it is shown to people. */
  readonly text?: (row: Row) => string | undefined
  readonly isRight?: boolean
  /** To how many characters it may be cut to fit the terminal; never, without it. */
  readonly shrinksTo?: number
  /** Left out first when even that is not enough. */
  readonly isMinor?: boolean
  /** Shown only when `-o` asks for it. */
  readonly isExtra?: boolean
}

/** What the options of `addTableOptions` come to. */
export interface TableOptions {
  readonly json?: true | undefined
  readonly o?: string | undefined
  readonly s?: string | undefined
  readonly H?: true | undefined
}

const GAP = '  '

/** Gives a command `-j`, `-o`, `-s` and `-H`, as imgadm has them. */
export function addTableOptions<Args extends unknown[], Options extends OptionValues>(
  command: Command<Args, Options>,
  columns: readonly Column<never>[],
) {
  const names = columns.map(({ name }) => name).join(', ')
  return command
    .option('-j, --json', 'print JSON, whole, for programs')
    .option('-o <columns>', `which columns, separated by commas: ${names}`)
    .option('-s <columns>', 'what to sort by, separated by commas; -size, with a minus, is largest first')
    .option('-H', 'without the header')
}

/**
 * Prints `rows` as a table that fits the terminal; whole, when it goes to a program. With `json`, prints `rows` as they are.
 * @param sortedBy when `-s` does not say; without it, rows stay in their order.
 * @throws CommandFailure of misuse, for columns that are none.
 */
export function printTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { json, o, s, H }: TableOptions,
  { terminal, write }: Pick<Surroundings, 'terminal' | 'write'>,
  sortedBy?: string,
): void {
  const shown = o === undefined ? columns.filter(({ isExtra }) => !isExtra) : chooseColumns(o, columns)
  const sorted = sortRows(rows, s ?? sortedBy, columns)
  if (json) {
    write(`${JSON.stringify(sorted, null, 2)}\n`)
    return
  }
  const width = terminal?.columns()
  const lines = layOut(sorted, shown, { hasHeader: !H, width, mayLeaveOut: o === undefined })
  if (lines.length > 0) write(`${lines.join('\n')}\n`)
}

function chooseColumns<Row>(list: string, columns: readonly Column<Row>[]): Column<Row>[] {
  return list.split(',').map((word) => findColumn(word.trim(), columns))
}

function findColumn<Row>(word: string, columns: readonly Column<Row>[]): Column<Row> {
  const wanted = word.toLowerCase()
  const found = columns.find(({ aliases, name }) => name === wanted || aliases?.includes(wanted))
  if (found) return found
  const names = columns.map(({ name }) => name)
  const meant = closestWord(word, names)
  throw new CommandFailure(
    `there is no column "${word}"; ${meant ? `did you mean ${meant}?` : `the columns are ${names.join(', ')}`}`,
    MISUSED,
  )
}

function sortRows<Row>(
  rows: readonly Row[],
  list: string | undefined,
  columns: readonly Column<Row>[],
): readonly Row[] {
  if (list === undefined) return rows
  const keys = list.split(',').map((word) => {
    const name = word.trim()
    const isDescending = name.startsWith('-')
    return { value: findColumn(isDescending ? name.slice(1) : name, columns).value, sign: isDescending ? -1 : 1 }
  })
  return rows.toSorted((left, right) => {
    for (const { value, sign } of keys) {
      const order = compare(value(left), value(right), sign)
      if (order !== 0) return order
    }
    return 0
  })
}

/** What is not known comes last, either way. */
function compare(left: Cell, right: Cell, sign: number): number {
  const isMissing = (cell: Cell) => cell === undefined || cell === null
  if (isMissing(left) || isMissing(right)) return Number(isMissing(left)) - Number(isMissing(right))
  if (left === right) return 0
  return left! < right! ? -sign : sign
}

interface Layout {
  readonly hasHeader: boolean
  /** `undefined`: as wide as it gets. */
  readonly width: number | undefined
  readonly mayLeaveOut: boolean
}

function layOut<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { hasHeader, width, mayLeaveOut }: Layout,
): string[] {
  let parts = columns.map((column) => {
    const cells = rows.map((row) => textOf(column, row))
    const header = hasHeader ? [column.name.toUpperCase()] : []
    // Not Math.max(...): a hundred thousand rows are more arguments than a call can have.
    const needed = [...header, ...cells].reduce((most, cell) => Math.max(most, lengthOf(cell)), 0)
    return { column, cells: [...header, ...cells], width: needed }
  })
  if (width !== undefined) {
    const least = () => parts.reduce((sum, part) => sum + leastWidth(part) + GAP.length, -GAP.length)
    while (mayLeaveOut && least() > width) {
      const last = parts.findLastIndex(({ column }) => column.isMinor)
      if (last === -1) break
      parts = parts.toSpliced(last, 1)
    }
    shrink(parts, width)
  }
  return Array.from({ length: rows.length + Number(hasHeader) }, (_, index) =>
    parts
      .map(({ column, cells, width }) => pad(cells[index] ?? '', width, column.isRight === true))
      .join(GAP)
      .trimEnd(),
  )
}

interface Part {
  readonly column: { readonly shrinksTo?: number }
  width: number
}

function leastWidth({ column, width }: Part): number {
  return Math.min(width, column.shrinksTo ?? width)
}

/** Takes from the widest first, so that all that is cut is cut alike. */
function shrink(parts: Part[], width: number): void {
  let excess = parts.reduce((sum, part) => sum + part.width + GAP.length, -GAP.length) - width
  while (excess > 0) {
    const widest = parts
      .filter((part) => part.width > leastWidth(part))
      .toSorted((left, right) => right.width - left.width)[0]
    if (!widest) return
    widest.width--
    excess--
  }
}

function textOf<Row>({ text, value }: Column<Row>, row: Row): string {
  const shown = text ? text(row) : value(row)
  return shown === undefined || shown === null || shown === '' ? '-' : printable(String(shown))
}

function pad(text: string, width: number, isRight: boolean): string {
  const characters = [...text]
  if (characters.length > width) return `${characters.slice(0, Math.max(0, width - 1)).join('')}…`
  const space = ' '.repeat(width - characters.length)
  return isRight ? space + text : text + space
}

function lengthOf(text: string): number {
  return [...text].length
}
