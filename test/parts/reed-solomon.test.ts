import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReedSolomon } from '../../src/parts/reed-solomon.js'
import { documentedParity } from '../support/documented-parity.js'
import { madeUpBytes } from '../support/made-up-bytes.js'

const shape = fc.record({
  dataShards: fc.integer({ min: 1, max: 40 }),
  parityShards: fc.integer({ min: 1, max: 12 }),
  shardBytes: fc.integer({ min: 1, max: 200 }),
  seed: fc.nat(),
})
type Shape = typeof shape extends fc.Arbitrary<infer Value> ? Value : never

function encode({ dataShards, parityShards, shardBytes, seed }: Shape) {
  const code = new ReedSolomon(dataShards, parityShards)
  const data = Array.from({ length: dataShards }, (_, index) => madeUpBytes(shardBytes, seed + index))
  const parity = Array.from({ length: parityShards }, () => Buffer.alloc(shardBytes, 0x55))
  code.encode(data, parity)
  return { code, data, parity }
}

describe('the Reed-Solomon code', () => {
  it('makes the parity that docs/bundle-format.md describes', () => {
    fc.assert(
      fc.property(shape, (chosen) => {
        const { data, parity } = encode(chosen)
        expect(Buffer.concat(parity).equals(Buffer.concat(documentedParity(data, parity.length)))).toBe(true)
      }),
      { numRuns: 60 },
    )
  })

  it('makes what the Rust crate reed-solomon-erasure makes', () => {
    // Of its release 4, compiled to WebAssembly: 20 shards of 20,000 bytes that count up modulo 251, and 5 of parity.
    const data = Array.from({ length: 20 }, (_, index) =>
      Uint8Array.from({ length: 20_000 }, (_, at) => (index * 20_000 + at) % 251),
    )
    const parity = Array.from({ length: 5 }, () => new Uint8Array(20_000))
    new ReedSolomon(20, 5).encode(data, parity)
    const hash = createHash('sha256')
    for (const shard of parity) hash.update(shard)
    expect(hash.digest('hex')).toBe('64c4788680d4787b531afd19b1dd6ef5c2302523d1c796c3fab972c6280b97da')
  })

  it('takes as many shards as the field has elements', () => {
    const { data, parity } = encode({ dataShards: 200, parityShards: 56, shardBytes: 16, seed: 1 })
    expect(Buffer.concat(parity).equals(Buffer.concat(documentedParity(data, 56)))).toBe(true)
    expect(() => new ReedSolomon(200, 57)).toThrow('there is no code of 200 and 57 shards')
    expect(() => new ReedSolomon(0, 1)).toThrow(RangeError)
  })

  it('gives back the data from any of its shards that are enough, and says when they are not', () => {
    const damage = shape.chain((chosen) => {
      const indexes = Array.from({ length: chosen.dataShards + chosen.parityShards }, (_, index) => index)
      return fc.record({ chosen: fc.constant(chosen), lost: fc.subarray(indexes) })
    })
    fc.assert(
      fc.property(damage, ({ chosen, lost }) => {
        const { code, data, parity } = encode(chosen)
        const whole = Buffer.concat(data)
        const shards = [...data, ...parity]
        for (const index of lost) shards[index]!.fill(0xa5)
        const isPresent = shards.map((_, index) => !lost.includes(index))
        expect(code.reconstruct(shards, isPresent)).toBe(lost.length <= parity.length)
        if (lost.length <= parity.length) expect(Buffer.concat(data).equals(whole)).toBe(true)
      }),
      { numRuns: 200 },
    )
  })

  it('knows from one damage to the next which it is', () => {
    const { code, data, parity } = encode({ dataShards: 5, parityShards: 2, shardBytes: 9000, seed: 3 })
    const whole = Buffer.concat(data)
    for (const lost of [[0, 1], [0, 1], [3], [0, 4], [4, 6], [0, 1]]) {
      for (const index of lost) data[index]?.fill(0)
      expect(
        code.reconstruct(
          [...data, ...parity],
          Array.from({ length: 7 }, (_, index) => !lost.includes(index)),
        ),
      ).toBe(true)
      expect(Buffer.concat(data).equals(whole)).toBe(true)
    }
  })
})
