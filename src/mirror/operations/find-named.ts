import { isMirrorError } from '../../errors.js'
import type { LeftOut } from '../../images/claim.js'
import { DOCKER_HUB, parseDockerReference } from '../../images/docker/reference.js'
import type { Manifest } from '../../images/manifest.js'
import type { ImageName } from './explanation.js'

/** Where to look. */
interface Known {
  /** In no order. */
  readonly manifests: Iterable<Manifest>
  /** What filters leave out, of all upstreams. */
  readonly leftOut: Iterable<LeftOut>
  /** Hosts of the configured Docker registries. */
  readonly hosts: readonly string[]
}

/**
 * Images called `text`: a name, name@version, or the repository:tag of a Docker image. Without a registry's name in front, the
 * repository may be of any configured one, or of Docker Hub, as a mirror before us may have its images. A plain name that no image has may be a repository too.
 * @returns newest first, those we answer for before those that are left out.
 */
export function findNamed(text: string, { manifests, leftOut, hosts }: Known): readonly ImageName[] {
  const all = [...manifests]
  const at = text.lastIndexOf('@')
  const [name, version] = at > 0 ? [text.slice(0, at), text.slice(at + 1)] : [text, undefined]
  const isMeant = (each: ImageName) => each.name === name && (version === undefined || each.version === version)
  const byName = all.filter(isMeant).sort(newestFirst)
  const named = byName.length > 0 ? byName : all.filter(isTagged(text, hosts)).sort(newestFirst)
  const known = new Set(named.map(({ uuid }) => uuid))
  const others = [...leftOut].filter((each) => isMeant(each) && !known.has(each.uuid))
  const unique = new Map([...named, ...others].map(({ uuid, name, version }) => [uuid, { uuid, name, version }]))
  return [...unique.values()]
}

function isTagged(text: string, hosts: readonly string[]): (manifest: Manifest) => boolean {
  const wanted = [...new Set([...hosts, DOCKER_HUB])].flatMap((host) => {
    try {
      const { digest, localName, tag } = parseDockerReference(text, host)
      return [{ localName, key: digest ? `"docker:id":"${digest}"` : `"docker:tag:${tag}":true` }]
    } catch (error) {
      if (!isMirrorError(error, 'QUERY_INVALID')) throw error
      return []
    }
  })
  return ({ json, type }) => {
    if (type !== 'docker') return false
    // Parsed only when it can be the one: there may be thousands of layers.
    return wanted.some(({ localName, key }) => json.includes(key) && repositoryOf(json) === localName)
  }
}

function repositoryOf(json: string): unknown {
  return (JSON.parse(json) as { tags?: Record<string, unknown> }).tags?.['docker:repo']
}

function newestFirst(one: Manifest, other: Manifest): number {
  return (other.publishedAt ?? '').localeCompare(one.publishedAt ?? '')
}
