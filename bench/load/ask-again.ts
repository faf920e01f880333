import { Agent, get } from 'node:http'

export interface Answered {
  /** From the request to the last byte, one after the other. */
  readonly ms: readonly number[]
  /** Not 200. */
  readonly failed: number
  /** Of the body of the last one. */
  readonly bytes: number
}

/** One client that asks for each of these in turn, over a connection that stays open. */
export async function askInTurn(urls: readonly string[]): Promise<Answered> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ms: number[] = []
  let [failed, bytes] = [0, 0]
  try {
    for (const url of urls) {
      const startMs = performance.now()
      const answer = await ask(url, agent)
      ms.push(performance.now() - startMs)
      if (answer.status !== 200) failed++
      bytes = answer.bytes
    }
  } finally {
    agent.destroy()
  }
  return { ms, failed, bytes }
}

/** The bytes are counted and let go of: `fetch` would decode them, and is slower than what is measured. */
function ask(url: string, agent: Agent): Promise<{ readonly status: number | undefined; readonly bytes: number }> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      let bytes = 0
      response.on('data', (piece: Buffer) => {
        bytes += piece.length
      })
      response.on('end', () => resolve({ status: response.statusCode, bytes }))
      response.on('error', reject)
    }).on('error', reject)
  })
}
