import { describe, expect, it } from 'vitest'
import { CommandFailure, MISUSED } from '../../src/cli/command.js'
import { type Column, printTable, type TableOptions } from '../../src/cli/table.js'

interface Row {
  readonly name: string
  readonly size?: number | undefined
  readonly note?: string | null
}

const COLUMNS: readonly Column<Row>[] = [
  { name: 'name', value: ({ name }) => name, shrinksTo: 6 },
  { name: 'size', value: ({ size }) => size, isRight: true },
  { name: 'note', value: ({ note }) => note, shrinksTo: 6, isMinor: true },
  { name: 'shout', value: ({ name }) => name.toUpperCase(), isExtra: true },
]
const ROWS: readonly Row[] = [
  { name: 'base', size: 9, note: 'small' },
  { name: 'ubuntu', size: 10 },
  { name: 'alpha', note: null },
]

function print(rows: readonly Row[], options: TableOptions = {}, columns?: number, sortedBy?: string): string[] {
  let out = ''
  const write = (text: string) => {
    out += text
  }
  const terminal = columns === undefined ? undefined : { columns: () => columns }
  printTable(rows, COLUMNS, options, { write, terminal }, sortedBy)
  return out.split('\n').slice(0, -1)
}

describe('a table', () => {
  it('has a header, aligned columns, and a dash for what is not known', () => {
    expect(print(ROWS)).toEqual([
      'NAME    SIZE  NOTE', //
      'base       9  small',
      'ubuntu    10  -',
      'alpha      -  -',
    ])
  })

  it('shows the columns that were asked for, in that order, and no header if none is wanted', () => {
    expect(print(ROWS.slice(0, 1), { o: 'shout,name', H: true })).toEqual(['BASE  base'])
  })

  it('sorts numbers as numbers, down with a minus, and what is not known behind everything', () => {
    expect(print(ROWS, { o: 'name', s: 'size', H: true })).toEqual(['base', 'ubuntu', 'alpha'])
    expect(print(ROWS, { o: 'name', s: '-size', H: true })).toEqual(['ubuntu', 'base', 'alpha'])
    expect(print(ROWS, { o: 'name', H: true }, undefined, 'name')).toEqual(['alpha', 'base', 'ubuntu'])
  })

  it.each([{ o: 'nmae' }, { s: '-nmae' }])(
    'refuses columns that are none, and says which was meant (%j)',
    (options) => {
      expect(() => print(ROWS, options)).toThrow(
        new CommandFailure('there is no column "nmae"; did you mean name?', MISUSED),
      )
    },
  )

  it('cuts what may be cut to fit the terminal, and leaves out what matters least before it runs over', () => {
    const rows = [{ name: 'a-name-that-goes-on', size: 1, note: 'words and more words' }]
    expect(print(rows, {}, 30)).toEqual(['NAME         SIZE  NOTE', 'a-name-tha…     1  words and …'])
    expect(print(rows, {}, 18)).toEqual(['NAME          SIZE', 'a-name-that…     1'])
    for (let width = 12; width < 60; width++) {
      for (const line of print(rows, {}, width)) expect([...line].length).toBeLessThanOrEqual(width)
    }
    // Nobody looks at the width of a pipe.
    expect(print(rows, { H: true })).toEqual(['a-name-that-goes-on  1  words and more words'])
  })

  it('says nothing that a terminal would obey', () => {
    const [line] = print([{ name: '\u001b[2Jgone\nforged  1', size: 1, note: '\u202egnp.exe\u009b1m' }], { H: true })
    expect(line).toBe('\ufffd[2Jgone forged  1  1  \ufffdgnp.exe\ufffd1m')
  })

  it('prints rows whole as JSON', () => {
    expect(JSON.parse(print(ROWS, { json: true, s: 'name' }).join('\n'))).toEqual([ROWS[2], ROWS[0], ROWS[1]])
  })
})
