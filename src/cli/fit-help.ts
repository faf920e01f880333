import { wrap } from './facts.js'

/** An example, and behind at least two blanks what it does. */
const EXAMPLE = /^( {2}\S.*?\S) {2,}(\S.*)$/
const REMARK_INDENT = ' '.repeat(6)

/** What help says beyond options and arguments, on a terminal: what an example does goes below it where it has no room beside it. */
export function fitHelp(text: string, columns: number): string {
  return text
    .split('\n')
    .flatMap((line) => (line.length > columns ? fitLine(line, columns) : [line]))
    .join('\n')
}

function fitLine(line: string, columns: number): string[] {
  const [, example, remark] = EXAMPLE.exec(line) ?? []
  if (example && remark) {
    return [example, ...wrap(remark, columns - REMARK_INDENT.length).map((each) => `${REMARK_INDENT}${each}`)]
  }
  // A command is to be copied, as long as it is.
  return line.startsWith(' ') ? [line] : wrap(line, columns)
}
