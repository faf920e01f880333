import { type ImageSelection, selectTags } from '../../images/docker/image-selection.js'
import { matchesFilter } from '../../images/filter.js'
import type { Manifest } from '../../images/manifest.js'
import { newerFirst, newestOfEachName } from '../../images/newest-of-each-name.js'
import type { JsonObject } from '../../parts/json-object.js'
import type { PrewarmPolicy } from './prewarm-policy.js'

export type Selection = Pick<PrewarmPolicy, 'match' | 'exclude' | 'channels' | 'latest' | 'by' | 'docker'>

/**
 * Which images a policy wants for themselves, the most valuable first: the newest of every name, then the second newest of
 * every name, and so on; of the same rank, what was published last. What they build on is wanted with them, whatever
 * `exclude` says.
 *
 * @param listed what clients may list. Images that are not active are wanted by nobody.
 */
export function wantedImages(selection: Selection, listed: readonly Manifest[]): readonly Manifest[] {
  const { channels, exclude, match } = selection
  const candidates = listed.filter(
    (manifest) =>
      manifest.state === 'active' &&
      (channels.length === 0 || channels.some((channel) => manifest.channels?.includes(channel))) &&
      !exclude.some((filter) => matchesFilter(filter, manifest)),
  )
  const matching = candidates.filter((manifest) => match.some((filter) => matchesFilter(filter, manifest)))
  const ranked = new Map<Manifest, number>()
  const rank = (manifest: Manifest, place: number) => {
    ranked.set(manifest, Math.min(place, ranked.get(manifest) ?? place))
  }
  for (const newestFirst of newestOfEachName(matching, selection.latest, selection.by)) {
    for (const [place, manifest] of newestFirst.entries()) rank(manifest, place)
  }
  for (const [manifest, place] of taggedImages(selection.docker, candidates)) rank(manifest, place)
  return [...ranked]
    .sort(([one, rankOfOne], [other, rankOfOther]) => rankOfOne - rankOfOther || newerFirst(one, other))
    .map(([manifest]) => manifest)
}

/** The layers that tags name, with the place of the tag among those that are meant. */
function* taggedImages(
  selections: readonly ImageSelection[],
  candidates: readonly Manifest[],
): Generator<[Manifest, number]> {
  if (selections.length === 0) return
  const repositories = new Map<string, Map<string, Manifest>>()
  for (const manifest of candidates) {
    if (manifest.type !== 'docker') continue
    const { repository, tags } = dockerNames(manifest)
    const known = repositories.get(repository) ?? new Map<string, Manifest>()
    for (const tag of tags) known.set(tag, manifest)
    repositories.set(repository, known)
  }
  for (const selection of selections) {
    for (const [repository, tags] of repositories) {
      if (!isSameRepository(selection.repository, repository)) continue
      const chosen = selectTags(selection, tags.keys())
      for (const [place, tag] of chosen.entries()) yield [tags.get(tag)!, place]
    }
  }
}

const TAG_PREFIX = 'docker:tag:'

/** IMGAPI has them among the tags of an image (see images/docker/layer-images.ts). */
function dockerNames({ json }: Manifest): { readonly repository: string; readonly tags: readonly string[] } {
  const tags = ((JSON.parse(json) as JsonObject).tags ?? {}) as JsonObject
  const names = Object.keys(tags).filter((name) => name.startsWith(TAG_PREFIX))
  return { repository: String(tags['docker:repo'] ?? ''), tags: names.map((name) => name.slice(TAG_PREFIX.length)) }
}

/** A selection has no host, and at Docker Hub may leave out `library/`; what docker shows leaves that out, and has other hosts. */
function isSameRepository(selected: string, shown: string): boolean {
  const [first = '', ...rest] = shown.split('/')
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost')
  const repository = isHost ? rest.join('/') : shown
  return selected.replace(/^library\//, '') === repository.replace(/^library\//, '')
}
