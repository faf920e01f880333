import { stringify } from 'yaml'
import type { z } from 'zod'
import { commentedOut, examples, settingsSchema } from './schema.js'
import { bareSchema, defaultOf, elementOf, keysOf } from './walk-schema.js'

const HEAD = `# yaml-language-server: $schema=./schema.json
#
# Every key of imgapi-mirror, with its meaning, its unit, its default, and why one would change it.
# A file needs only the keys it changes. Values are the defaults, save name and url; a key behind a # is an example.
#
# Any key can be set by an environment variable instead, named after its path in upper case:
# IMGAPI_MIRROR_LISTEN, IMGAPI_MIRROR_MISS_TTL, IMGAPI_MIRROR_LOG_LEVEL, IMGAPI_MIRROR_UPSTREAMS_0_URL, and for an
# upstream of the file also by its name: IMGAPI_MIRROR_UPSTREAMS_SMARTOS_PASSWORD_FILE. Values are YAML.
#
# This file is generated ("npm run generate"); the texts stand in src/config/schema.ts.
`

const WIDTH = 110

/** A config file with every key in it, which is right as it stands. */
export function exampleYaml(): string {
  return `${HEAD}\n${keyBlocks(settingsSchema, '').join('\n\n')}\n`
}

function keyBlocks(schema: z.ZodType, indent: string): string[] {
  return Object.entries(keysOf(schema) ?? {}).map(([key, inner]) => {
    const comment = wrap(inner.description ?? '', WIDTH - indent.length - 2).map((line) => `${indent}# ${line}`)
    return [...comment, ...valueLines(key, inner, indent)].join('\n')
  })
}

function valueLines(key: string, schema: z.ZodType, indent: string): string[] {
  if (keysOf(schema)) return [`${indent}${key}:`, keyBlocks(schema, `${indent}  `).join('\n\n')]

  const element = elementOf(schema)
  if (element && keysOf(element) && exampleOf(schema) === undefined) {
    // The first line of an entry carries the dash, whether it is a comment or a key; YAML takes both.
    const entry = keyBlocks(element, `${indent}    `).join('\n\n')
    if (commentedOut.has(bareSchema(schema) as z.ZodArray)) {
      const lines = [`${indent}${key}:`, `${indent}  -`, ...entry.split('\n')]
      return [`${indent}${key}: []`, ...lines.map((line) => `${indent}# ${line.slice(indent.length)}`.trimEnd())]
    }
    return [`${indent}${key}:`, `${indent}  -`, entry]
  }
  const example = exampleOf(schema)
  const shown = example === undefined ? [] : [`${indent}#${key}: ${example}`]
  const preset = defaultOf(schema)
  // The default of a list is empty and shows nothing of what goes into it, so the example stands below.
  if (preset !== undefined) return [`${indent}${key}: ${flow(preset)}`, ...shown]
  return schema.safeParse(undefined).success ? shown : [`${indent}${key}: ${example}`]
}

/** Whichever layer of the schema it was registered on. */
function exampleOf(schema: z.ZodType): string | undefined {
  const { def } = schema as unknown as { def: { innerType?: z.ZodType; in?: z.ZodType } }
  const inner = def.innerType ?? def.in
  return examples.get(schema)?.example ?? (inner && exampleOf(inner))
}

function flow(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trimEnd()
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return line === '' ? lines : [...lines, line]
}
