import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../src/errors.js'
import type { Manifest } from '../../src/images/manifest.js'
import { Catalogue } from '../../src/mirror/catalogue.js'
import { Channels } from '../../src/mirror/channels.js'
import { silentLog } from '../../src/parts/log.js'
import { image, SHA1, uuid } from '../images/manifests.js'
import { claim, heldImage } from './claims.js'

const dev = { name: 'dev', description: 'all of it', isDefault: true }
const staging = { name: 'staging', description: '', isDefault: false }
const release = { name: 'release', description: '', isDefault: false }

function failureOf(work: () => unknown) {
  try {
    work()
  } catch (error) {
    if (isMirrorError(error)) return { code: error.code, message: error.message, fields: error.fields }
    throw error
  }
  return undefined
}

describe('the channel a request means', () => {
  const channels = new Channels([dev, staging])

  it('is the named one, or the default', () => {
    expect(channels.resolve('staging', 'read')).toBe('staging')
    expect(channels.resolve(undefined, 'read')).toBe('dev')
    expect(channels.resolve('', 'write')).toBe('dev')
  })

  it('is any at all for readers who say *, and for nobody else', () => {
    expect(channels.resolve('*', 'read')).toBe('*')
    expect(failureOf(() => channels.resolve('*', 'write'))).toEqual({
      code: 'CHANNEL_UNKNOWN',
      message: 'unknown channel: *',
      fields: [{ field: 'channel', code: 'Invalid' }],
    })
  })

  it('is none we do not have, and none by default where there is no default', () => {
    expect(failureOf(() => channels.resolve('release', 'read'))?.message).toBe('unknown channel: release')
    expect(failureOf(() => channels.resolve('__proto__', 'read'))?.message).toBe('unknown channel: __proto__')
    expect(failureOf(() => new Channels([staging]).resolve(undefined, 'read'))).toEqual({
      code: 'CHANNEL_UNKNOWN',
      message: 'channel not specified and the server has no default channel',
      fields: [{ field: 'channel', code: 'MissingParameter' }],
    })
  })

  it('is not looked at on a mirror without channels', () => {
    expect(new Channels().resolve('whatever', 'read')).toBeUndefined()
    expect(new Channels().resolve('*', 'write')).toBeUndefined()
  })
})

describe('an upstream fills', () => {
  const fillings = new Map([
    ['plain', { channel: undefined, into: [] }],
    ['named', { channel: 'release', into: [] }],
    ['renamed', { channel: 'stable', into: ['release', 'staging'] }],
    ['all', { channel: '*', into: [] }],
    ['all-of-it-here', { channel: '*', into: ['staging'] }],
  ])
  const channels = new Channels([dev, staging, release], fillings)
  const filledBy = (upstream: string, theirs?: readonly string[]) => channels.filledBy({ upstream, channels: theirs })

  it.each([
    ['the default channel, if it says nothing', 'plain', ['release'], ['dev']],
    ['the channel of the same name', 'named', ['release', 'staging'], ['release']],
    ['the channels it is told to', 'renamed', ['stable'], ['release', 'staging']],
    [
      'with all of its channels, those of its images that we have',
      'all',
      ['staging', 'theirs', 'dev'],
      ['staging', 'dev'],
    ],
    ['nothing of ours with an image that is in channels we do not have', 'all', ['theirs'], []],
    ['the default channel with an image that names none', 'all', undefined, ['dev']],
    ['what it is told to with all of its channels', 'all-of-it-here', ['release'], ['staging']],
    ['the default channel, if nothing is known of it', 'unknown', undefined, ['dev']],
  ])('%s', (_what, upstream, theirs, ours) => {
    expect(filledBy(upstream, theirs)).toEqual(ours)
    for (const name of ours) expect(channels.mayFill(upstream, name)).toBe(true)
  })
})

describe('an image', () => {
  const fillings = new Map(
    ['dev', 'staging', 'release'].map((channel) => [channel, { channel, into: [] as string[] }] as const),
  )
  const channels = new Channels([dev, staging, release], fillings)
  const make = () =>
    new Catalogue({ precedence: ['release', 'staging', 'dev'], withdrawn: 'list', channels, log: silentLog })
  const other = (number: number) =>
    image({ uuid: uuid(number), files: [{ sha1: 'e'.repeat(40), size: 9, compression: 'gzip' }] })

  it('is in the channels of all claims that agree with the winner, and of no other', () => {
    const catalogue = make()
    catalogue.hear([claim('dev', image()), claim('release', image()), claim('staging', other(1))])
    expect(catalogue.find(uuid(1))?.channels).toEqual(['release', 'dev'])
  })

  it('leaves a channel when its upstream withdraws it there, which is a change of the list', () => {
    const catalogue = make()
    catalogue.hear([claim('dev', image()), claim('release', image())])
    const { revision } = catalogue
    catalogue.hear([claim('release', image(), { withdrawnMs: 5 })])
    expect(catalogue.find(uuid(1))?.channels).toEqual(['dev'])
    expect(catalogue.revision).not.toBe(revision)
  })

  it('stays where it was when it is held and all have withdrawn it', () => {
    const catalogue = make()
    catalogue.hold(heldImage(image()))
    catalogue.hear([claim('staging', image(), { withdrawnMs: 5 })])
    expect(catalogue.find(uuid(1))?.channels).toEqual(['staging'])
    expect(catalogue.listed()).toHaveLength(1)
  })

  it('is in the default channel when it is held and nobody ever claimed it', () => {
    const catalogue = make()
    catalogue.hold(heldImage(image()))
    expect(catalogue.find(uuid(1))?.channels).toEqual(['dev'])
  })

  it('says nothing of channels on a mirror without them', () => {
    const catalogue = new Catalogue({ precedence: ['one'], withdrawn: 'list', log: silentLog })
    catalogue.hear([claim('one', image(), { channels: ['release'] })])
    expect(catalogue.find(uuid(1))).not.toHaveProperty('channels')
  })
})

// Three upstreams, of which one tells the channels of its images; one image, of which they speak in two ways.

const NAMES = ['named', 'all', 'plain'] as const
const OURS = ['dev', 'staging', 'release'] as const

const step = fc.oneof(
  fc.record({
    upstream: fc.constantFrom(...NAMES),
    bytes: fc.constantFrom('a', 'a', 'b'),
    theirs: fc.option(fc.uniqueArray(fc.constantFrom('dev', 'staging', 'release', 'theirs'), { maxLength: 3 }), {
      nil: undefined,
    }),
    isWithdrawn: fc.boolean(),
  }),
  fc.record({ holds: fc.constantFrom('a', 'b') }),
)

it('is visible in a channel exactly when a claim that agrees puts it there, whatever is heard in whatever order', () => {
  const fillings = new Map([
    ['named', { channel: 'release', into: [] }],
    ['all', { channel: '*', into: [] }],
    ['plain', { channel: undefined, into: ['staging'] }],
  ])
  const channels = new Channels([dev, staging, release], fillings)
  const imageOf = (bytes: string) => image({ files: [{ sha1: bytes.repeat(40), size: 10, compression: 'gzip' }] })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const catalogue = new Catalogue({ precedence: NAMES, withdrawn: 'list', channels, log: silentLog })
      const claims = new Map<string, Exclude<(typeof steps)[number], { holds: string }>>()
      let held: string | undefined
      for (const each of steps) {
        const revisionBefore = catalogue.revision
        const before = JSON.stringify(catalogue.listed().map((one) => [one.json, one.channels]))
        if ('holds' in each) {
          held = each.holds
          catalogue.hold(heldImage(imageOf(each.holds)))
        } else {
          claims.set(each.upstream, each)
          const withdrawnMs = each.isWithdrawn ? 5 : undefined
          catalogue.hear([claim(each.upstream, imageOf(each.bytes), { channels: each.theirs, withdrawnMs })])
        }
        const inOrder = NAMES.flatMap((name) => claims.get(name) ?? [])
        const answer = held ?? inOrder.find(({ isWithdrawn }) => !isWithdrawn)?.bytes
        const agreeing = inOrder.filter(({ bytes }) => bytes === answer)
        const standing = agreeing.filter(({ isWithdrawn }) => !isWithdrawn)
        const puts = (name: string) =>
          (standing.length > 0 ? standing : agreeing).some(({ upstream, theirs }) => {
            if (upstream === 'named') return name === 'release'
            if (upstream === 'plain') return name === 'staging'
            return theirs ? theirs.includes(name as never) : name === 'dev'
          })
        const found = catalogue.find(uuid(1))
        expect(found !== undefined).toBe(answer !== undefined)
        for (const name of OURS) {
          const isOrphan = agreeing.length === 0 && held !== undefined
          expect(found !== undefined && channels.shows(found, name), name).toBe(
            answer !== undefined && (isOrphan ? name === 'dev' : puts(name)),
          )
        }
        const isAnywhere = found !== undefined && channels.shows(found, '*')
        if (!isAnywhere) expect(catalogue.listed()).toEqual([])
        const after = JSON.stringify(catalogue.listed().map((one) => [one.json, one.channels]))
        expect(catalogue.revision !== revisionBefore, 'the revision changes exactly when the list does').toBe(
          after !== before,
        )
      }
    }),
    { numRuns: 500 },
  )
})

it('stays cheap with 100,000 images in channels', () => {
  const COUNT = 100_000
  const sets = [['dev'], ['dev', 'staging'], ['dev', 'staging', 'release'], ['theirs']]
  const manifests = Array.from({ length: COUNT }, (_, number) =>
    image({
      uuid: `${number.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`,
      files: [{ sha1: SHA1, size: 10, compression: 'gzip' }],
      published_at: new Date(1.5e12 + number * 1000).toISOString(),
    }),
  )
  const fillings = new Map([
    ['one', { channel: '*', into: [] }],
    ['two', { channel: 'release', into: [] }],
  ])
  const channels = new Channels([dev, staging, release], fillings)
  const catalogue = new Catalogue({ precedence: ['one', 'two'], withdrawn: 'list', channels, log: silentLog })
  const figures: Record<string, string> = {}
  const measure = <Value>(what: string, work: () => Value): Value => {
    const startMs = performance.now()
    const value = work()
    figures[what] = `${Math.round(performance.now() - startMs)} ms`
    return value
  }
  measure('hear the first', () =>
    catalogue.hear(manifests.map((manifest, number) => claim('one', manifest, { channels: sets[number % 4]! }))),
  )
  expect(measure('list, sorted', () => catalogue.listed())).toHaveLength((COUNT / 4) * 3)
  const inChannel = (name: string) => (manifest: Manifest) => channels.shows(manifest, name)
  expect(measure('those of one channel', () => catalogue.listed().filter(inChannel('staging')))).toHaveLength(COUNT / 2)
  measure('hear the second', () => catalogue.hear(manifests.map((manifest) => claim('two', manifest))))
  expect(catalogue.listed().filter(inChannel('release'))).toHaveLength(COUNT)
  console.info('channels of 100,000:', figures)
})
