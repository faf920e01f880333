import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FieldFailure } from '../../src/errors.js'
import { type ValidationMode, validateManifest } from '../../src/images/validate-manifest.js'
import type { JsonObject } from '../../src/parts/json-object.js'
import { vectors } from '../support/vectors.js'

interface ValidationVector {
  readonly name: string
  readonly mode: ValidationMode
  readonly manifest: JsonObject
  readonly opts?: object
  readonly errors?: readonly FieldFailure[] | null
  readonly throws?: object
}

const ALL = vectors<ValidationVector[]>('validation')
const validate = ({ manifest, mode, opts }: ValidationVector) =>
  validateManifest(manifest, { mode, hasChannels: !!opts })
/** Its message is the text of a TypeError, and leaves out the field's name. */
const SAID_BETTER = 'dc: public bad boolean is caught'

describe('validateManifest, as the reference does it', () => {
  it.each(ALL.filter(({ throws, name }) => !throws && name !== SAID_BETTER))('$name', (vector) => {
    expect(validate(vector)).toEqual(vector.errors ?? [])
  })

  it(`${SAID_BETTER}, and named`, () => {
    const failures = validate(ALL.find(({ name }) => name === SAID_BETTER)!)
    expect(failures).toEqual([{ field: 'public', code: 'Invalid', message: 'invalid value for "public": "maybe"' }])
  })
})

describe('validateManifest, where the reference dies', () => {
  it.each([
    ['name null throws', 'name'],
    ['requirements null throws', 'requirements'],
    ['channels in minimal throws', 'channels'],
    ['icon bad boolean throws', 'icon'],
    ['dc: disabled bad boolean throws', 'disabled'],
  ])('%s: calls the field Invalid', (vector, field) => {
    const failures = validate(ALL.find(({ name }) => name === vector)!)
    expect(failures).toEqual([expect.objectContaining({ field, code: 'Invalid' })])
  })

  it('knows every vector of that kind', () => {
    expect(ALL.filter(({ throws }) => throws)).toHaveLength(5)
  })

  it('refuses a field nested so deeply that nothing could print it', () => {
    const tags = JSON.parse(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)
    const minimal = { v: 2, uuid: '1f9b7958-289e-4ea3-8f88-5486a40d6823', name: 'a', version: '1', os: 'smartos' }
    const failures = validateManifest({ ...minimal, type: 'zvol', tags }, { mode: 'minimal' })
    expect(failures).toEqual([expect.objectContaining({ field: 'tags', code: 'Invalid' })])
  })

  it('answers for any JSON at all, and never with an endless list', () => {
    const fields = fc.constantFrom('requirements', 'files', 'tags', 'acl', 'type', 'bogus', 'image_size', '__proto__')
    fc.assert(
      fc.property(
        fc.dictionary(fields, fc.jsonValue()),
        fc.constantFrom('minimal', 'dc', 'public'),
        (manifest, mode) => {
          const failures = validateManifest(manifest as JsonObject, { mode: mode as ValidationMode })
          expect(failures.length).toBeGreaterThan(0)
        },
      ),
    )
    const manifest = { acl: [], users: Array.from({ length: 5000 }, () => 'x') }
    expect(validateManifest(manifest, { mode: 'minimal' })).toHaveLength(100)
  })
})
