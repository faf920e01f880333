import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import { isRepositoryName, isTag, parseDockerReference } from '../../../src/images/docker/reference.js'
import { parseRegistryAddress } from '../../../src/images/docker/registry-address.js'
import { vectors } from '../../support/vectors.js'

interface Parsed {
  readonly error?: string
  readonly domain: string
  readonly path: string
  readonly familiar: string
  readonly tag?: string
  readonly digest?: string
}
interface RegistryClient {
  readonly error?: string
  readonly remoteName: string
  readonly localName: string
  readonly tag?: string
  readonly digest?: string
}
interface Reference {
  readonly input: string
  readonly registryClient33: RegistryClient
  readonly distribution: Parsed
}

const queryInvalid = expect.toSatisfy((error) => isMirrorError(error, 'QUERY_INVALID'))

describe('parseDockerReference', () => {
  it.each(vectors<Reference[]>('dockerReferences').map((each) => [each.input.slice(0, 60), each] as const))(
    'reads %j as distribution does',
    (_name, { input, distribution }) => {
      if (distribution.error) {
        expect(() => parseDockerReference(input)).toThrow(queryInvalid)
        return
      }
      const { domain, path, familiar, tag, digest } = distribution
      expect(parseDockerReference(input)).toEqual({ host: domain, repository: path, localName: familiar, tag, digest })
    },
  )

  it("means what imgadm's registry client means, wherever both understand a name", () => {
    let compared = 0
    for (const { input, distribution, registryClient33 } of vectors<Reference[]>('dockerReferences')) {
      if (distribution.error || registryClient33.error) continue
      const { repository, localName, tag, digest } = parseDockerReference(input)
      const { remoteName, localName: theirs } = registryClient33
      expect({ repository, localName, tag, digest }).toEqual({
        repository: remoteName,
        localName: theirs,
        tag: registryClient33.tag,
        digest: registryClient33.digest,
      })
      compared++
    }
    expect(compared).toBeGreaterThan(30)
  })

  it.each(
    vectors<
      { input: string; defaultIndex: string | { scheme: string; name: string }; registryClient33: RegistryClient }[]
    >('dockerReferencesWithDefaultIndex').map((each) => [each.input, each] as const),
  )('reads %j where another registry is the default', (input, { defaultIndex, registryClient33 }) => {
    const index = typeof defaultIndex === 'string' ? defaultIndex : `${defaultIndex.scheme}://${defaultIndex.name}`
    const { repository, localName, tag } = parseDockerReference(input, parseRegistryAddress(index).host)
    const { remoteName, localName: theirs, tag: theirTag } = registryClient33
    expect({ repository, localName, tag }).toEqual({ repository: remoteName, localName: theirs, tag: theirTag })
  })

  it.each([
    'a/../b',
    '../etc/passwd',
    'quay.io/../../x',
    'a/./b',
    'a/%2e%2e/b',
    'quay.io:99999999/x',
    'quay.io:/x',
    '-.io/x',
    `a@sha256:${'F'.repeat(64)}`,
    `a@sha512:${'f'.repeat(128)}`,
    'a\n/b',
    'a:b:c',
    'a:1\n',
    'busybox@',
    'x'.repeat(100_000),
    `${'a/'.repeat(50_000)}b`,
    `${'a-'.repeat(500)}!`,
  ])('refuses %.40s', (text) => {
    expect(() => parseDockerReference(text)).toThrow(queryInvalid)
  })

  it('reads back what it made, and lets nothing out that could change a url', () => {
    const scrap = fc.constantFrom(
      'a',
      'a',
      '0',
      'a',
      'B',
      '0',
      '.',
      '..',
      '-',
      '--',
      '_',
      '/',
      ':',
      '@',
      '%',
      '?',
      '#',
      '\\',
      'é',
      ' ',
      '[',
      ']',
      'localhost',
    )
    let taken = 0
    const property = fc.property(fc.array(scrap, { minLength: 1, maxLength: 8 }), (scraps) => {
      let parsed: ReturnType<typeof parseDockerReference>
      try {
        parsed = parseDockerReference(scraps.join(''))
      } catch (error) {
        expect(error).toEqual(queryInvalid)
        return
      }
      taken++
      const { host, repository, tag } = parsed
      expect(parseDockerReference(`${host}/${repository}:${tag}`)).toEqual(parsed)
      const url = new URL(`https://${host}/v2/${repository}/manifests/${tag}`)
      expect(url.pathname).toBe(`/v2/${repository}/manifests/${tag}`)
      expect(url.search + url.hash + url.username).toBe('')
    })
    fc.assert(property, { numRuns: 5000 })
    expect(taken).toBeGreaterThan(100)
  })

  it('knows names and tags by themselves', () => {
    expect(['a', 'a/b-c/d.e__f', 'a'.repeat(255)].every(isRepositoryName)).toBe(true)
    expect(['', '/', 'a/', 'A', 'a..b', '..', 'a'.repeat(256)].some(isRepositoryName)).toBe(false)
    expect(['latest', '1.36', '_', 'T'.repeat(128)].every(isTag)).toBe(true)
    expect(['', '.', '-x', 'a/b', 'a b', 'a\n', 't'.repeat(129)].some(isTag)).toBe(false)
  })
})

describe('parseRegistryAddress', () => {
  type Index = {
    input: string | null
    registryClient33: { error?: string; name: string; scheme?: string }
    url?: string
  }

  it.each(vectors<Index[]>('dockerIndexes').map((each) => [each.input, each] as const))(
    'reads %j as the registry client does',
    (input, { registryClient33: { error, name }, url }) => {
      // No name at all is Docker Hub for the client; of a configured registry it is a mistake, and said to be one.
      if (error || input === null) return expect(() => parseRegistryAddress(input ?? '')).toThrow(queryInvalid)
      // The client names the host of Docker Hub that served v1.
      const served = url === 'https://index.docker.io' ? 'https://registry-1.docker.io' : url
      expect(parseRegistryAddress(input)).toEqual({ host: name, url: served })
    },
  )

  it.each(['https://user:secret@quay.io', 'https://quay.io?x', 'https://quay.io#x', 'https://a\nb.io', 'quay.io/../x'])(
    'refuses %j, where more than a host is named',
    (text) => {
      expect(() => parseRegistryAddress(text)).toThrow(queryInvalid)
    },
  )
})
