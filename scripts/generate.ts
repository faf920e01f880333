// npm run generate: writes what is generated from src/config/schema.ts. With --check it only says what is stale.
import { readFile, writeFile } from 'node:fs/promises'
import { exampleYaml, jsonSchema } from '../src/config.js'

const config = new URL('../config/', import.meta.url)
const isCheck = process.argv.includes('--check')

for (const [name, text] of [
  ['schema.json', jsonSchema()],
  ['example.yaml', exampleYaml()],
] as const) {
  const file = new URL(name, config)
  if (!isCheck) await writeFile(file, text)
  else if ((await readFile(file, 'utf8').catch(() => '')) !== text) {
    console.error(`config/${name} is stale: npm run generate`)
    process.exitCode = 1
  }
}
