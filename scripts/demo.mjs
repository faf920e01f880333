// npm run demo: real upstreams on loopback, a mirror before them, and what hosts get from it. Ends by itself and leaves
// nothing behind; `npm run demo -- --keep` stays up, to be played with, until Ctrl-C.
import { constants } from 'node:os'
import { play } from './demo/play.mjs'
import { prepare, say } from './ready.mjs'

const args = process.argv.slice(2)
const isKept = args.includes('--keep')
if (args.some((arg) => arg !== '--keep')) {
  say('npm run demo [-- --keep]')
  process.exit(2)
}
if (!prepare()) process.exit(1)

const stop = new AbortController()
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => {
    // With --keep this is the way to end it.
    process.exitCode = isKept ? 0 : 128 + constants.signals[signal]
    stop.abort()
  })
}
// A reader who has seen enough (npm run demo | head) ends it too.
process.stdout.on('error', () => stop.abort())

try {
  await play({ isKept, stop: stop.signal })
} catch (error) {
  if (!stop.signal.aborted) {
    say(error instanceof Error ? error.message : String(error))
    process.exitCode = 1
  }
}
// What was cut off in the middle of a step may still hold the process.
process.exit()
