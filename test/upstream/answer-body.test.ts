import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { type Deferred, deferred } from '../../src/parts/deferred.js'
import { AnswerBody } from '../../src/upstream/answer-body.js'

const CHUNK_BYTES = 1000

/** Ten chunks, each of which waits until the test pays for it. */
function makeBody() {
  let givenChunks = 0
  const source = new Readable({
    highWaterMark: 1,
    read() {
      givenChunks += 1
      this.push(givenChunks > 10 ? null : Buffer.alloc(CHUNK_BYTES, givenChunks))
    },
  })
  const payments: Deferred<void>[] = []
  const signals: AbortSignal[] = []
  let closes = 0
  const body = new AnswerBody(source, {
    explain: (cause) => cause as Error,
    pay(_bytes, signal) {
      signals.push(signal)
      const payment = deferred<void>()
      payments.push(payment)
      return payment.promise
    },
    onClose: () => {
      closes += 1
    },
  })
  return { body, source, payments, signals, given: () => givenChunks, closes: () => closes }
}

const turns = async () => {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve))
}

describe('the body of an answer', () => {
  it('reads no further until what came is paid for', async () => {
    const { body, payments, given } = makeBody()
    const reading = buffer(body)
    await turns()
    expect(payments).toHaveLength(1)
    // The one that waits, and what the source reads ahead of itself.
    expect(given()).toBeLessThanOrEqual(2)
    for (let paid = 0; paid < 10; paid++) {
      expect(payments).toHaveLength(paid + 1)
      payments[paid]!.resolve()
      await turns()
    }
    const expected = Buffer.concat(Array.from({ length: 10 }, (_, index) => Buffer.alloc(CHUNK_BYTES, index + 1)))
    expect(await reading).toEqual(expected)
  })

  it('does not read on because somebody else wants more', async () => {
    const { body, payments } = makeBody()
    body.resume()
    await turns()
    body._read()
    await turns()
    expect(payments).toHaveLength(1)
    body.destroy()
  })

  it('pays no more for a reader who has left', async () => {
    const { body, signals, closes, source } = makeBody()
    body.resume()
    await turns()
    body.destroy()
    await turns()
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
    expect(source.destroyed).toBe(true)
    expect(closes()).toBe(1)
  })

  it('fails with what the payment fails with', async () => {
    const { body, payments } = makeBody()
    const reading = buffer(body)
    await turns()
    payments[0]!.reject(new Error('the line is closed'))
    await expect(reading).rejects.toThrow('the line is closed')
  })

  it('fails when its source does, paid for or not', async () => {
    const { body, source } = makeBody()
    const reading = buffer(body)
    await turns()
    source.destroy(new Error('reset'))
    await expect(reading).rejects.toThrow('reset')
  })
})
