import { describe, expect, it } from 'vitest'
import { everythingCampaign, resumeCampaign } from './campaign.js'
import { prewarmCampaign } from './prewarm-campaign.js'

const seed = Math.floor(Math.random() * 2 ** 31)

/** Few rounds here; as many as one likes by hand: `npm run crash -- --rounds 5000 --seed N`. */
describe(`a mirror killed at random moments (seed ${seed})`, () => {
  it('goes on with a file where it was, give or take one chunk', { timeout: 180_000 }, async () => {
    const { mostSentAgain } = await resumeCampaign(10, seed)
    expect(mostSentAgain).toBeLessThanOrEqual(1024 * 1024)
  })

  it('never has a wrong name in its store, and serves everything in the end', { timeout: 300_000 }, async () => {
    const { complete } = await everythingCampaign(20, seed)
    expect(complete).toBeGreaterThan(0)
  })

  it('comes nearer to what is wanted before anyone asks, and fetches no byte again beyond one chunk', {
    timeout: 120_000,
  }, async () => {
    const { mostSentAgain } = await prewarmCampaign(6, seed)
    expect(mostSentAgain).toBeLessThanOrEqual(1024 * 1024)
  })
})
