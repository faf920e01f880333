// npm run audit: whether a known flaw is in what is shipped, as the registry knows it. Exits with 0 when there is none, with 1
// when there is one, and with 3 when the registry could not be asked: then nothing is known.
import { spawnSync } from 'node:child_process'
import { root, say } from './ready.mjs'

const NOT_ASKED = 3
/** How long a registry may take, in ms, before it counts as one that does not answer. */
const PATIENCE_MS = 120_000

const args = ['audit', '--omit=dev', '--package-lock-only', '--json', '--fetch-retries=1']
const { stdout, error } = spawnSync('npm', args, { cwd: root, encoding: 'utf8', timeout: PATIENCE_MS })
const answer = answerOf(stdout)

if (!answer?.metadata) {
  const reason = answer?.message ?? answer?.error?.summary ?? error?.message ?? 'it gave no answer'
  say(`NOT AUDITED: the registry could not be asked (${reason})`)
  process.exit(NOT_ASKED)
}

const { vulnerabilities, dependencies } = answer.metadata
if (vulnerabilities.total === 0) say(`no known flaw in ${dependencies.prod} packages of production`)
for (const { name, severity, via } of Object.values(answer.vulnerabilities)) {
  // What is only a name is flawed by another package, which is in the list as well.
  for (const { title, url } of via.filter((/** @type {unknown} */ each) => typeof each === 'object')) {
    console.log(`${severity} ${name}: ${title} (${url})`)
  }
}
process.exitCode = vulnerabilities.total === 0 ? 0 : 1

/** @param {string | null} text */
function answerOf(text) {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
