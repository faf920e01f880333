import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../src/errors.js'
import { upgradeManifest } from '../../src/images/upgrade-manifest.js'
import type { JsonObject } from '../../src/parts/json-object.js'
import { vectors } from '../support/vectors.js'

interface UpgradeVector {
  readonly name: string
  readonly input: JsonObject
  readonly output?: JsonObject
  readonly outputKeyOrder?: readonly string[]
}

const ALL = vectors<UpgradeVector[]>('upgradeManifest')
/** The reference crashes on it under Node 6 and later; older ones answer compression none, and so do we. */
const CRASHES_THE_REFERENCE = 'file with neither path nor url nor compression'

describe('upgradeManifest, as the reference does it', () => {
  it.each(ALL.filter(({ output }) => output))('upgrades: $name', ({ input, output, outputKeyOrder }) => {
    const before = structuredClone(input)
    const upgraded = upgradeManifest(input)
    expect(upgraded).toEqual(output)
    expect(Object.keys(upgraded)).toEqual(outputKeyOrder)
    expect(input).toEqual(before)
  })

  it.each(ALL.filter(({ output, name }) => !output && name !== CRASHES_THE_REFERENCE))(
    'refuses: $name',
    ({ input }) => {
      expect(() => upgradeManifest(input)).toThrow(
        expect.toSatisfy((error) => isMirrorError(error, 'MANIFEST_INVALID')),
      )
    },
  )

  it('takes a file of unknown name for not compressed', () => {
    const { input } = ALL.find(({ name }) => name === CRASHES_THE_REFERENCE)!
    expect(upgradeManifest(input).files).toEqual([expect.objectContaining({ compression: 'none' })])
  })
})
