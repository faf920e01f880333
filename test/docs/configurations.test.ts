import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { formatMinisignKey, minisignKeyOf } from '../../src/parts/minisign.js'
import { PAGES, root } from './pages.js'

const publicKey = formatMinisignKey(minisignKeyOf(generateKeyPairSync('ed25519').privateKey))

/** Files that a configuration names are not there: what they say is up to their readers. */
const readFile = async (path: string) => (path.endsWith('.pub') ? publicKey : 'a secret, or something else')

const blocks = PAGES.flatMap((page) =>
  [...readFileSync(join(root, page), 'utf8').matchAll(/^( *)```yaml.*\n([\s\S]*?)^\1```$/gm)].map(
    ([, indent, text], index) => ({
      name: `${page}, ${index + 1}`,
      text: text!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    }),
  ),
)

describe('a configuration in the documents', () => {
  it.each(blocks)('is right: $name', async ({ text }) => {
    await expect(
      loadConfig({ path: '/etc/mirror/config.yaml', text, environment: {}, readFile }),
    ).resolves.toBeDefined()
  })
})
