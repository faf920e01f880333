/*
 * The crash campaign by hand: npm run crash -- --rounds 5000 --seed 1
 * A real process, killed with SIGKILL at random moments; see test/crash/*campaign.ts for what is checked after each.
 */
import { parseArgs } from 'node:util'
import { everythingCampaign, resumeCampaign } from '../test/crash/campaign.js'
import { prewarmCampaign } from '../test/crash/prewarm-campaign.js'

/** Rounds between two progress lines; each batch has a seed of its own, so that a failure can be repeated alone. */
const BATCH_ROUNDS = 20
const CAMPAIGNS = [resumeCampaign, everythingCampaign, prewarmCampaign]

const { values } = parseArgs({ options: { rounds: { type: 'string' }, seed: { type: 'string' } } })
const rounds = Number(values.rounds ?? 200)
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))

let [complete, sentAgain, mostSentAgain] = [0, 0, 0]
for (let done = 0, seed = firstSeed; done < rounds; seed++) {
  const batch = Math.min(BATCH_ROUNDS, rounds - done)
  const campaign = CAMPAIGNS[seed % CAMPAIGNS.length]!
  const result = await campaign(batch, seed)
  done += batch
  complete += result.complete
  sentAgain += result.sentAgain
  mostSentAgain = Math.max(mostSentAgain, result.mostSentAgain)
  console.log(
    `${done} of ${rounds} rounds, last seed ${seed}: ${complete} complete answers, all right; sent again: ${sentAgain} bytes in all, ${mostSentAgain} at most for one kill`,
  )
}
