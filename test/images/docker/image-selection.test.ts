import { describe, expect, it } from 'vitest'
import { parseImageSelection, repositoryAt, selectTags } from '../../../src/images/docker/image-selection.js'

const TAGS = [
  'latest',
  '3',
  '3.19',
  '3.19.1',
  '3.2',
  '2.9.9',
  '3.19.2-rc1',
  '3.19.1-alpine',
  '4.0-alpine',
  '24.04',
  'v1.2',
  'edge',
]
const selected = (text: string) => selectTags(parseImageSelection(text), TAGS)

describe('a selection of images', () => {
  it.each([
    ['app', ['latest']],
    ['app:3.19', ['3.19']],
    ['app:3.1*', ['3.19.2-rc1', '3.19.1', '3.19.1-alpine', '3.19']],
    ['app:?', ['3']],
    ['app:~3', ['3.19.1', '3.19', '3.2', '3']],
    ['app:~3.19', ['3.19.1', '3.19']],
    ['app:^3.2', ['3.19.1', '3.19', '3.2']],
    ['app:>3.2 <4', ['3.19.1', '3.19']],
    ['app:<=2', ['2.9.9', 'v1.2']],
    ['app:=3.19', ['3.19.1', '3.19']],
    ['app:>=24.04', ['24.04']],
    ['app:~3 *-alpine', ['3.19.1-alpine']],
    ['app:newest:2', ['24.04', '3.19.1']],
    ['app:*-alpine:newest:1', ['4.0-alpine']],
    ['app:~3:newest:2', ['3.19.1', '3.19']],
    ['app:nope*', []],
  ])('%s means %j', (text, tags) => {
    expect(selected(text)).toEqual(tags)
  })

  it.each([
    ['UPPER:x', 'no name of a repository'],
    ['../etc:x', 'no name of a repository'],
    ['app:', 'ends where a tag should be'],
    ['app:~one', 'neither a tag'],
    ['app:newest:0', 'newest takes a number'],
    ['app:newest:5000', 'newest takes a number'],
    ['app:a:b', 'neither a tag'],
    ['app:*a*b*c*d*e', 'more than 4 stars'],
    ['x'.repeat(2000), 'longer than'],
  ])('%s is refused, and says why', (text, complaint) => {
    expect(() => parseImageSelection(text)).toThrow(complaint)
  })

  it('finds its repository as the registry names it', () => {
    expect(repositoryAt('docker.io', parseImageSelection('busybox'))).toBe('library/busybox')
    expect(repositoryAt('docker.io', parseImageSelection('grafana/grafana:~11'))).toBe('grafana/grafana')
    expect(repositoryAt('quay.io', parseImageSelection('busybox'))).toBe('busybox')
  })

  it('is quick even on what is made to be slow', () => {
    const { matches } = parseImageSelection('app:*a*a*a*b')
    const startMs = performance.now()
    matches('a'.repeat(128))
    expect(performance.now() - startMs).toBeLessThan(1000)
  })
})
