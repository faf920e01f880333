import { isRegistryHost, isRepositoryName, isTag } from '../../images/docker/reference.js'
import { isDigestText } from '../../images/docker/registry-digest.js'
import { pathUnknown } from '../answers.js'
import { invalid } from './registry-answers.js'

/** What is asked for under /v2/. Everything in it has the form it should have. */
export type RegistryPath =
  | { readonly kind: 'base' | 'catalogue' }
  /** `name` may begin with a registry's host. */
  | { readonly kind: 'tags'; readonly name: string }
  /** `reference` is a tag or a digest. */
  | { readonly kind: 'manifest'; readonly name: string; readonly reference: string }
  | { readonly kind: 'blob' | 'referrers'; readonly name: string; readonly digest: string }

const KINDS = { manifests: 'manifest', blobs: 'blob', referrers: 'referrers' } as const

/**
 * Reads a path from the right, as names have slashes too.
 * @throws Refusal 404 for what leads nowhere, 400 NAME_INVALID, DIGEST_INVALID, TAG_INVALID.
 */
export function parseRegistryPath(path: string): RegistryPath {
  const rest = decoded(path).replace(/^\/v2\/?/, '')
  if (rest === '') return { kind: 'base' }
  if (rest === '_catalog') return { kind: 'catalogue' }
  const [, tagsOf] = /^(.+)\/tags\/list$/s.exec(rest) ?? []
  if (tagsOf !== undefined) return { kind: 'tags', name: checkedName(tagsOf) }
  const [, named, collection, last = ''] = /^(.+)\/(manifests|blobs|referrers)\/([^/]+)$/s.exec(rest) ?? []
  if (named === undefined) throw pathUnknown(path)
  const kind = KINDS[collection as keyof typeof KINDS]
  const name = checkedName(named)
  if (kind === 'manifest' && !last.includes(':')) {
    if (!isTag(last)) throw invalid('TAG_INVALID', `${shown(last)} is no tag`)
    return { kind, name, reference: last }
  }
  if (!isDigest(last)) throw invalid('DIGEST_INVALID', `${shown(last)} is no digest`)
  return kind === 'manifest' ? { kind, name, reference: last } : { kind, name, digest: last }
}

function checkedName(name: string): string {
  const slash = name.indexOf('/')
  const host = name.slice(0, Math.max(0, slash))
  const hasHost = (/[.:]/.test(host) || host === 'localhost') && isRegistryHost(host)
  if (isRepositoryName(name) || (hasHost && isRepositoryName(name.slice(slash + 1)))) return name
  throw invalid('NAME_INVALID', `${shown(name)} is no name of a repository`)
}

/** Of an algorithm that we do not know it may be any; nothing of that kind is here. */
function isDigest(text: string): boolean {
  return isDigestText(text) && (!text.startsWith('sha256:') || /^sha256:[0-9a-f]{64}$/.test(text))
}

/** Some clients write the colon of a digest as %3A. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    throw invalid('NAME_INVALID', 'the path is not well encoded')
  }
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100))
}
