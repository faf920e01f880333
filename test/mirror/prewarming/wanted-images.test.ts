import { expect, it } from 'vitest'
import { parseImageSelection } from '../../../src/images/docker/image-selection.js'
import { parseFilter } from '../../../src/images/filter.js'
import type { Manifest } from '../../../src/images/manifest.js'
import { type Selection, wantedImages } from '../../../src/mirror/prewarming/wanted-images.js'
import type { JsonObject } from '../../../src/parts/json-object.js'
import { image, uuid } from '../../images/manifests.js'

interface Words extends Partial<Omit<Selection, 'match' | 'exclude' | 'docker'>> {
  readonly match?: readonly string[]
  readonly exclude?: readonly string[]
  readonly docker?: readonly string[]
}

let made = 0
/** Each published a day after the one before it. */
function listed(...images: readonly JsonObject[]): Manifest[] {
  return images.map((changes) => {
    made++
    const published_at = new Date(Date.parse('2020-01-01') + made * 86_400_000).toISOString()
    return image({ uuid: uuid(made), published_at, ...changes })
  })
}

function wanted(images: readonly Manifest[], { docker = [], exclude = [], match = [], ...rest }: Words): string[] {
  const selection: Selection = {
    match: match.map(parseFilter),
    exclude: exclude.map(parseFilter),
    docker: docker.map(parseImageSelection),
    channels: [],
    latest: undefined,
    by: 'version',
    ...rest,
  }
  return wantedImages(selection, images).map(({ name, version }) => `${name} ${version}`)
}

const BASES = listed(
  { name: 'base', version: '23.4.0' },
  { name: 'base', version: '9.0.0' },
  { name: 'base', version: '23.10.0' },
  { name: 'base', version: '22.1.0' },
  { name: 'minimal', version: '23.4.1' },
  { name: 'debian', version: '12', os: 'linux' },
)

it('takes the newest of each name by version, and puts the newest of every name first', () => {
  expect(wanted(BASES, { match: ['os=smartos'], latest: 2 })).toEqual(['minimal 23.4.1', 'base 23.10.0', 'base 23.4.0'])
})

it('or by date', () => {
  expect(wanted(BASES, { match: ['name=base'], latest: 2, by: 'date' })).toEqual(['base 22.1.0', 'base 23.10.0'])
})

it('takes all of them without a number, and none that is excluded or not active', () => {
  expect(wanted(BASES, { match: ['name=base', 'name=debian'], exclude: ['version=~23.'] })).toEqual([
    'debian 12',
    'base 22.1.0',
    'base 9.0.0',
  ])
  const disabled = listed({ state: 'disabled', disabled: true })
  expect(wanted(disabled, { match: ['name=base'] })).toEqual([])
})

it('puts versions that are none behind those that are', () => {
  const odd = listed({ version: '1.0' }, { version: 'nightly' })
  expect(wanted(odd, { match: ['name=base'], latest: 1 })).toEqual(['base 1.0'])
})

it('looks only into the channels that are named', () => {
  const [one, other] = listed({ name: 'one' }, { name: 'other' })
  const placed = [
    { ...one!, channels: ['staging'] },
    { ...other!, channels: ['release', 'staging'] },
  ]
  expect(wanted(placed, { match: ['os=smartos'], channels: ['release'] })).toEqual(['other 1.0.0'])
})

const layer = (repository: string, version: string, ...tags: string[]): JsonObject => ({
  name: 'docker-layer',
  type: 'docker',
  os: 'linux',
  version,
  tags: {
    'docker:repo': repository,
    'docker:id': `sha256:${'0'.repeat(64)}`,
    ...Object.fromEntries(tags.map((tag) => [`docker:tag:${tag}`, true])),
  },
})

it('finds the images of Docker tags, whatever registry they are of', () => {
  const layers = listed(
    layer('alpine', 'base'),
    layer('alpine', 'three-nineteen', '3.19', '3'),
    layer('alpine', 'three-twenty', '3.20', 'latest'),
    layer('quay.io/org/app', 'app', '1.2.0'),
    layer('org/other', 'other', '1.2.0'),
  )
  expect(wanted(layers, { docker: ['library/alpine:newest:2', 'org/app:~1'] })).toEqual([
    'docker-layer app',
    'docker-layer three-twenty',
    'docker-layer three-nineteen',
  ])
  expect(wanted(layers, { docker: ['alpine'], exclude: ['version=three-twenty'] })).toEqual([])
})

it('tells layers apart by their repositories: all have one name', () => {
  const layers = listed(layer('alpine', '3.19'), layer('busybox', '1.36'), layer('alpine', '3.20'))
  expect(wanted(layers, { match: ['type=docker'], latest: 1 })).toEqual(['docker-layer 3.20', 'docker-layer 1.36'])
})
