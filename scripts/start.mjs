// npm start: installs and builds what is missing or stale, then runs the mirror with config/default.yaml.
// `npm start -- --config /path/to/config.yaml` runs it with another.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { prepare, root } from './ready.mjs'

if (!prepare()) process.exit(1)

// In this very process, so that signals, output and exit code are the mirror's own.
const main = join(root, 'dist', 'main.js')
process.argv = [
  process.execPath,
  main,
  'serve',
  '--config',
  join(root, 'config', 'default.yaml'),
  ...process.argv.slice(2),
]
await import(pathToFileURL(main).href)
