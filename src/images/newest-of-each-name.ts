import type { JsonObject } from '../parts/json-object.js'
import { compareVersions, parseTagVersion } from './docker/tag-version.js'
import type { Manifest } from './manifest.js'

/** What newest means. */
export type NewestBy = 'version' | 'date'

/**
 * Of these images the `latest` newest of each name, newest first; all of them without a number. Layers of Docker images have one
 * name, all of them: they are told apart by their repositories.
 */
export function newestOfEachName(
  manifests: Iterable<Manifest>,
  latest: number | undefined,
  by: NewestBy,
): readonly (readonly Manifest[])[] {
  const byName = new Map<string, Manifest[]>()
  for (const manifest of manifests) {
    const name = nameOf(manifest)
    const same = byName.get(name)
    if (same) same.push(manifest)
    else byName.set(name, [manifest])
  }
  const compare = by === 'version' ? newerVersionFirst : newerFirst
  return [...byName.values()].map((same) => same.sort(compare).slice(0, latest))
}

/** By the date of publication; by uuid, where that is all that tells them apart. */
export function newerFirst(one: Manifest, other: Manifest): number {
  return publishedMs(other) - publishedMs(one) || (one.uuid < other.uuid ? -1 : 1)
}

/** What says no version stands behind what does. */
function newerVersionFirst(one: Manifest, other: Manifest): number {
  const [versionOfOne, versionOfOther] = [parseTagVersion(one.version), parseTagVersion(other.version)]
  if (versionOfOne && versionOfOther) return compareVersions(versionOfOther, versionOfOne) || newerFirst(one, other)
  if (versionOfOne || versionOfOther) return versionOfOne ? -1 : 1
  return newerFirst(one, other)
}

function publishedMs({ publishedAt }: Manifest): number {
  return (publishedAt && Date.parse(publishedAt)) || 0
}

function nameOf({ json, name, type }: Manifest): string {
  if (type !== 'docker') return name
  const tags = (JSON.parse(json) as { tags?: JsonObject }).tags ?? {}
  return `${name} ${String(tags['docker:repo'])}`
}
