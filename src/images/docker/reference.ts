import { MirrorError } from '../../errors.js'
import { brief } from '../../parts/json-object.js'
import { parseRegistryDigest } from './registry-digest.js'

/** What a person means by `busybox` or `quay.io/foo/bar:v1`. Exactly one of tag and digest is there. */
export interface DockerReference {
  /** As clients name the registry: `docker.io`, `quay.io`, `host:5000`. */
  readonly host: string
  /** As it stands in the registry's urls: `library/busybox`. */
  readonly repository: string
  /** As docker shows it, and IMGAPI's tag docker:repo: `busybox`, `google/python`, `quay.io/foo/bar`. */
  readonly localName: string
  /** `latest` when neither a tag nor a digest was given. */
  readonly tag: string | undefined
  /** `sha256:<hex>`. With a tag and a digest, the digest decides and the tag is dropped. */
  readonly digest: string | undefined
}

export const DOCKER_HUB = 'docker.io'

/** A host of 255 with its port, a path of 255, a tag of 128 and a digest fit in; more is not even looked at. */
const MAX_REFERENCE_LENGTH = 1024
const MAX_REPOSITORY_LENGTH = 255

const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?$`)
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

/**
 * Reads a reference by distribution's grammar: `[host/]path[:tag][@digest]`. The first part is a host if it has a dot, a
 * colon or an upper-case letter, or is `localhost`.
 *
 * Source: github.com/distribution/reference, `ParseNormalizedNamed`. The grammar of imgadm's own registry client
 * differs in corners; test/images/docker/reference.test.ts compares both.
 *
 * @param defaultHost whose repository it is when no host is named; only Docker Hub's get `library/`.
 * @throws MirrorError QUERY_INVALID
 */
export function parseDockerReference(text: string, defaultHost: string = DOCKER_HUB): DockerReference {
  if (text.length > MAX_REFERENCE_LENGTH) throw refusal(text, `it is longer than ${MAX_REFERENCE_LENGTH} characters`)
  if (/^[0-9a-f]{64}$/.test(text)) throw refusal(text, '64 hex digits are an id, not a name')
  const [named = '', digest, ...more] = text.split('@')
  if (more.length > 0) throw refusal(text, 'it has more than one @')
  if (digest !== undefined && !parseRegistryDigest(digest)) throw refusal(text, 'its digest is no sha256 digest')
  const slash = named.indexOf('/')
  const first = named.slice(0, Math.max(0, slash))
  const hasHost = slash !== -1 && (/[.:A-Z]/.test(first) || first === 'localhost')
  const host = hasHost ? canonicalHost(first) : defaultHost
  if (!HOST.test(host) || host.length > 255) throw refusal(text, `${brief(host)} is no host`)
  const [path = '', tag, ...rest] = named.slice(hasHost ? slash + 1 : 0).split(':')
  if (rest.length > 0 || (tag !== undefined && !isTag(tag))) throw refusal(text, 'its tag is not valid')
  const repository = host === DOCKER_HUB && !path.includes('/') ? `library/${path}` : path
  if (!isRepositoryName(repository)) throw refusal(text, `${brief(repository)} is no name of a repository`)
  return {
    host,
    repository,
    localName: localNameOf(host, repository),
    tag: digest === undefined ? (tag ?? 'latest') : undefined,
    digest,
  }
}

/** As it may stand in a url of a registry: lower case, without `..`, at most 255 characters. */
export function isRepositoryName(text: string): boolean {
  return text.length <= MAX_REPOSITORY_LENGTH && text.split('/').every((component) => COMPONENT.test(component))
}

export function isTag(text: string): boolean {
  return TAG.test(text)
}

/** Whether this names a registry: a host, or an address, and perhaps a port. */
export function isRegistryHost(text: string): boolean {
  return text.length <= 255 && HOST.test(text)
}

/** What docker shows for this repository: without `docker.io/` and `library/`, or with its host. */
export function localNameOf(host: string, repository: string): string {
  if (host !== DOCKER_HUB) return `${host}/${repository}`
  const name = repository.slice('library/'.length)
  // `library/a/b` is a repository of its own, and `a/b` another.
  return repository.startsWith('library/') && !name.includes('/') ? name : repository
}

/** Docker Hub has an older name. */
export function canonicalHost(host: string): string {
  return host === 'index.docker.io' ? DOCKER_HUB : host
}

function refusal(text: string, reason: string): MirrorError {
  return new MirrorError('QUERY_INVALID', `${brief(text)} is no reference to a Docker image: ${reason}`)
}
