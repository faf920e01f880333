// npm run generate: writes what is generated from src/config/schema.ts, from the endpoints of the operator API, and from the metrics. With --check it only says what is stale.
import { readFile, writeFile } from 'node:fs/promises'
import { exampleYaml, jsonSchema } from '../src/config.js'
import { openApiDocument } from '../src/http/operator/api/openapi.js'
import { Counters } from '../src/telemetry/counters.js'
import { metricsPage } from '../src/telemetry/metrics-page.js'

const root = new URL('../', import.meta.url)
const isCheck = process.argv.includes('--check')

for (const [name, text] of [
  ['config/schema.json', jsonSchema()],
  ['config/example.yaml', exampleYaml()],
  ['docs/metrics.md', metricsPage(new Counters().describe())],
  ['docs/openapi.json', `${JSON.stringify(openApiDocument(), null, 2)}\n`],
] as const) {
  const file = new URL(name, root)
  if (!isCheck) await writeFile(file, text)
  else if ((await readFile(file, 'utf8').catch(() => '')) !== text) {
    console.error(`${name} is stale: npm run generate`)
    process.exitCode = 1
  }
}
