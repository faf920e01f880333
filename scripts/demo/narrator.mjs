// How the demo speaks: for a terminal of 80 columns, in colour where there is one, and readable through a pipe.
import { styleText } from 'node:util'

const COLUMNS = 78
const INDENT = '   '
const BAR_COLUMNS = 30

const isTerminal = process.stdout.isTTY === true
const hasColour = isTerminal && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
let steps = 0

/** @param {string} text */
export function title(text) {
  print(paint('bold', text))
}

/** @param {string} text what is to be shown next */
export function step(text) {
  steps++
  print(`\n${paint('bold', `${steps}. ${text}`)}`)
}

/** @param {string} text as long as it likes */
export function tell(text) {
  for (const line of wrapped(text)) print(INDENT + line)
}

/**
 * A request.
 * @param {string} text
 */
export function sent(text) {
  print(INDENT + paint('cyan', `> ${text}`))
}

/**
 * Its answer.
 * @param {string} text
 */
export function received(text) {
  print(INDENT + paint('green', `< ${text}`))
}

/** @param {readonly string[]} lines as they are, set off from what we say ourselves */
export function quote(lines) {
  for (const line of lines) print(`${INDENT}${paint('dim', '|')} ${line}`)
}

/** @param {readonly (readonly string[])[]} rows the first one is the heading; every row has as many cells as that */
export function table(rows) {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  for (const [place, row] of rows.entries()) {
    const line = row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
    print(INDENT + (place === 0 ? paint('dim', line.trimEnd()) : line.trimEnd()))
  }
}

/**
 * A bar that grows in place, on a terminal only; whoever draws it says afterwards what came of it.
 * @param {number} doneBytes
 * @param {number} totalBytes
 */
export function progress(doneBytes, totalBytes) {
  if (!isTerminal) return
  const filled = Math.round((doneBytes / totalBytes) * BAR_COLUMNS)
  const bar = '#'.repeat(filled).padEnd(BAR_COLUMNS, '.')
  const isDone = doneBytes >= totalBytes
  process.stdout.write(isDone ? '\r\x1b[K' : `\r${INDENT}${bar} ${size(doneBytes)} of ${size(totalBytes)}`)
}

/** @param {number} bytes */
export function size(bytes) {
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(2)} MiB`
}

/** @param {string} line */
function print(line) {
  process.stdout.write(`${line}\n`)
}

/**
 * @param {'bold' | 'dim' | 'cyan' | 'green'} style
 * @param {string} text
 */
function paint(style, text) {
  return hasColour ? styleText(style, text) : text
}

/** @param {string} text */
function wrapped(text) {
  /** @type {string[]} */
  const lines = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && INDENT.length + line.length + 1 + word.length > COLUMNS) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
