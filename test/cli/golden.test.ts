import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { runCommand } from './run-command.js'

const directory = join(import.meta.dirname, 'golden')
const transcripts = readdirSync(directory).map((name) => readFileSync(join(directory, name), 'utf8'))
/** What was typed, and how wide the terminal was, if it was one. */
const typed = transcripts.flatMap((text) =>
  [...text.matchAll(/^\$ imgapi-mirror (.*?)(?: {3}# (\d+) columns)?$/gm)].map(([, line, columns]) => ({
    line: line!,
    columns,
  })),
)

/** `status`, `audit verify`... as help lists them. */
async function commandsBelow(words: readonly string[] = []): Promise<string[]> {
  const { out } = await runCommand([...words, '--help'])
  const [, list = ''] = /^Commands:\n((?: .*\n)+)/m.exec(out) ?? []
  const names = [...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name!).filter((name) => name !== 'help')
  if (names.length === 0) return [words.join(' ')]
  return (await Promise.all(names.map((name) => commandsBelow([...words, name])))).flat()
}

/** They write the same however wide a terminal is; tests of their own hold it. What is not named here draws, or fits its terminal. */
const WIDTHLESS = [
  ...['serve', 'config check', 'config schema', 'config example', 'publish', 'user hash-password', 'user make-token'],
  ...['completion', 'audit verify', 'audit report', 'audit head'],
]

it('has a screen of every command: at 80 columns, at 200, and piped', async () => {
  const commands = (await commandsBelow()).filter((command) => !WIDTHLESS.includes(command))
  expect(commands).toContain('audit compare')
  const missing = commands.flatMap((command) =>
    ['80', '200', undefined]
      .filter((columns) => !typed.some((each) => each.columns === columns && `${each.line} `.startsWith(`${command} `)))
      .map((columns) => `${command}, ${columns === undefined ? 'piped' : `${columns} columns`}`),
  )
  expect(missing).toEqual([])
})

it('has help of every command that fits its terminal', async () => {
  for (const command of await commandsBelow()) {
    const { code, out } = await runCommand([...command.split(' '), '--help'], { terminal: { columns: () => 80 } })
    expect(code).toBe(0)
    // What is to be copied is as long as it is.
    const lines = out.split('\n').filter((line) => line.length > 80 && !/^ {2}\S/.test(line) && !/^ {6}\S+$/.test(line))
    expect(lines, command).toEqual([])
  }
})
