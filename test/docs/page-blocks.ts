/**
 * What a reader of a page is to do, in order. How a block is fenced says what it is:
 *
 * - ```` ```sh ```` is typed into a shell, and every command in it succeeds.
 * - ```` ```sh elsewhere ```` needs what a test does not have: SmartOS, Docker, another machine, the public internet.
 * - ```` ```yaml config.yaml ```` is the configuration from there on: the mirror is started with it, or anew.
 */
export interface PageBlock {
  readonly kind: 'run' | 'elsewhere' | 'config'
  readonly text: string
  /** Where it begins in the page, counted from 1. */
  readonly line: number
}

const KINDS: Readonly<Record<string, PageBlock['kind']>> = {
  sh: 'run',
  'sh elsewhere': 'elsewhere',
  'yaml config.yaml': 'config',
}

export function blocksOf(page: string): PageBlock[] {
  const blocks: PageBlock[] = []
  for (const { index, 1: indent = '', 2: fence = '', 3: body = '' } of page.matchAll(
    /^( *)```([^\n`]*)\n([\s\S]*?)^\1```$/gm,
  )) {
    const kind = KINDS[fence.trim()]
    if (!kind && /^(sh|bash|shell|console)\b/.test(fence))
      throw new Error(`nobody knows what to do with \`\`\`${fence}`)
    const line = page.slice(0, index).split('\n').length
    if (kind) blocks.push({ kind, text: body.replaceAll(new RegExp(`^${indent}`, 'gm'), ''), line })
  }
  return blocks
}
