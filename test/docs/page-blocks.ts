/**
 * What a reader of a page is to do, in order. How a block is fenced says what it is:
 *
 * - ```` ```sh ```` is typed into a shell, and every command in it succeeds.
 * - ```` ```sh elsewhere ```` needs what a test does not have: SmartOS, Docker, another machine, the public internet.
 * - ```` ```yaml config.yaml ```` is the configuration from there on: the mirror is started with it, or anew.
 *
 * Where a page has several mirrors, `sh open` and `yaml open/config.yaml` are those of the mirror in the directory `open`.
 */
export interface PageBlock {
  readonly kind: 'run' | 'elsewhere' | 'config'
  readonly text: string
  /** The directory of the mirror that it is for; '' on pages with one. */
  readonly site: string
  /** Where it begins in the page, counted from 1. */
  readonly line: number
}

const KINDS: readonly (readonly [PageBlock['kind'], RegExp])[] = [
  ['elsewhere', /^sh elsewhere$/],
  ['run', /^sh(?: (?<site>open|closed))?$/],
  ['config', /^yaml (?:(?<site>open|closed)\/)?config\.yaml$/],
]

export function blocksOf(page: string): PageBlock[] {
  const blocks: PageBlock[] = []
  for (const { index, 1: indent = '', 2: fence = '', 3: body = '' } of page.matchAll(
    /^( *)```([^\n`]*)\n([\s\S]*?)^\1```$/gm,
  )) {
    const text = body.replaceAll(new RegExp(`^${indent}`, 'gm'), '')
    const line = page.slice(0, index).split('\n').length
    const found = KINDS.flatMap(([kind, pattern]) => {
      const match = pattern.exec(fence.trim())
      return match ? [{ kind, text, site: match.groups?.site ?? '', line }] : []
    })
    if (found.length === 0 && /^(sh|bash|shell|console)\b/.test(fence))
      throw new Error(`nobody knows what to do with \`\`\`${fence}`)
    blocks.push(...found)
  }
  return blocks
}
