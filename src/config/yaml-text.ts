import { isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import type { Path } from './problem.js'

export interface Position {
  /** Both from 1. */
  readonly line: number
  readonly column: number
}

export interface YamlText {
  /** Plain data; an empty file is an empty mapping. */
  readonly data: unknown
  readonly faults: readonly { readonly position: Position; readonly message: string }[]
  /** Where the value at `path` begins, or its key; where it is missing, the mapping it is missing from. */
  positionOf(path: Path, part: 'key' | 'value'): Position
}

/** No config is longer; something else was handed in. */
const LONGEST_TEXT = 1024 * 1024

/** Reads YAML 1.2, remembering where everything stands. Never throws: faults of syntax are in `faults`. */
export function parseYamlText(text: string): YamlText {
  const start: Position = { line: 1, column: 1 }
  if (text.length > LONGEST_TEXT) {
    const fault = { position: start, message: `found ${text.length} characters; a config has at most ${LONGEST_TEXT}` }
    return { data: {}, faults: [fault], positionOf: () => start }
  }

  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const positionAt = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const faults = [...document.errors, ...document.warnings].map(({ pos, message }) => ({
    position: positionAt(pos[0]),
    message,
  }))

  let data: unknown = {}
  if (faults.length === 0) {
    try {
      // An alias that unfolds a hundred times is no config but an attack on memory.
      data = document.toJS({ maxAliasCount: 100 }) ?? {}
    } catch (error) {
      faults.push({ position: start, message: error instanceof Error ? error.message : String(error) })
    }
  }

  function positionOf(path: Path, part: 'key' | 'value'): Position {
    let node: unknown = document.contents
    let offset = beginOf(node)
    for (const [depth, step] of path.entries()) {
      const isLast = depth === path.length - 1
      if (isMap(node)) {
        const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step))
        if (!pair) break
        offset = beginOf(pair.key)
        node = pair.value
        if (!(isLast && part === 'key')) offset = beginOf(node) ?? offset
      } else if (isSeq(node)) {
        node = node.items[Number(step)]
        offset = beginOf(node) ?? offset
      } else break
    }
    return offset === undefined ? start : positionAt(offset)
  }

  return { data, faults, positionOf }
}

function beginOf(node: unknown): number | undefined {
  return isNode(node) ? (node as Node).range?.[0] : undefined
}
