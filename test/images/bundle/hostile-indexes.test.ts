import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import { formatBundleIndex } from '../../../src/images/bundle/format-bundle-index.js'
import { formatVolumeIndex } from '../../../src/images/bundle/format-volume-index.js'
import { parseBundleIndex } from '../../../src/images/bundle/parse-bundle-index.js'
import { parseVolumeIndex } from '../../../src/images/bundle/parse-volume-index.js'
import { bundleIndex, volumeIndex, withChange } from './bundles.js'

/** Values that break whoever believes them. */
const HOSTILE: readonly unknown[] = [
  null,
  true,
  '',
  '../../etc/passwd',
  '__proto__',
  'files/\0',
  '\ud800',
  -1,
  -0,
  0.5,
  1e308,
  2 ** 53,
  [],
  [null],
  {},
  { length: 1e9 },
  { __proto__: null, toString: 1 },
  undefined,
]

function pathsOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => {
    const here = path === '' ? key : `${path}.${key}`
    return [here, ...pathsOf(inner, here)]
  })
}

describe.each([
  [
    'bundle.json',
    formatBundleIndex(bundleIndex()),
    async (bytes: Buffer) => formatBundleIndex(await parseBundleIndex(bytes)),
  ],
  [
    'volume.json',
    formatVolumeIndex(volumeIndex()),
    async (bytes: Buffer) => formatVolumeIndex(parseVolumeIndex(bytes)),
  ],
])('%s, whatever was done to it,', (_name, good, readAndWrite) => {
  const told = JSON.parse(good.toString('utf8'))
  const paths = pathsOf(told)

  /** Taken, and then it means the same to us for ever; or refused. */
  async function judge(bytes: Buffer): Promise<void> {
    let written: Buffer
    try {
      written = await readAndWrite(bytes)
    } catch (error) {
      if (isMirrorError(error, 'BUNDLE_INVALID')) return
      throw error
    }
    expect((await readAndWrite(written)).equals(written)).toBe(true)
  }

  it('is taken or refused when a value anywhere is another one', async () => {
    for (const path of paths) {
      for (const value of HOSTILE) await judge(Buffer.from(JSON.stringify(withChange(told, path, value))))
    }
  })

  it('is taken or refused when values are those of other places', async () => {
    const valueAt = (path: string) => path.split('.').reduce((at, key) => at?.[key], told)
    const swap = fc.tuple(fc.constantFrom(...paths), fc.constantFrom(...paths))
    await fc.assert(
      fc.asyncProperty(fc.array(swap, { minLength: 1, maxLength: 3 }), async (swaps) => {
        let changed: unknown = told
        for (const [to, from] of swaps) {
          try {
            changed = withChange(changed, to, valueAt(from))
          } catch {
            // An earlier one has taken away what this one is in.
          }
        }
        await judge(Buffer.from(JSON.stringify(changed)))
      }),
      { numRuns: 1_000 },
    )
  })

  it('is taken or refused when its bytes are others', async () => {
    const edit = fc.record({ at: fc.nat(good.length), take: fc.nat(64), put: fc.uint8Array({ maxLength: 16 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
        await judge(
          edits.reduce(
            (bytes, { at, put, take }) => Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + take)]),
            good,
          ),
        )
      }),
      { numRuns: 2_000 },
    )
  })
})
