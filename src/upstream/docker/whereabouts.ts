import { isRepositoryName } from '../../images/docker/reference.js'
import { parseRegistryDigest } from '../../images/docker/registry-digest.js'
import { isJsonObject } from '../../parts/json-object.js'

/** Where a registry has a blob. */
export interface Whereabouts {
  readonly repository: string
  /** `sha256:<hex>` */
  readonly digest: string
  /** Of a foreign layer: where else it is, and its registry perhaps does not have it. */
  readonly urls: readonly string[]
}

/** A foreign layer's places; more than one or two were never seen. */
const URLS_LIMIT = 4

/** As a statement keeps it: JSON. */
export function formatWhereabouts({ digest, repository, urls }: Whereabouts): string {
  const few = urls.slice(0, URLS_LIMIT)
  return JSON.stringify({ repository, digest, ...(few.length > 0 && { urls: few }) })
}

/** Answers `undefined` for what is none: the upstream of that name may have been of another type. */
export function parseWhereabouts(text: string | undefined): Whereabouts | undefined {
  let value: unknown
  try {
    value = JSON.parse(text ?? 'null')
  } catch {
    return undefined
  }
  if (!isJsonObject(value)) return undefined
  const { digest, repository, urls = [] } = value
  const areUrls = Array.isArray(urls) && urls.every((url) => typeof url === 'string' && URL.canParse(url))
  if (typeof repository !== 'string' || !isRepositoryName(repository) || !areUrls) return undefined
  return parseRegistryDigest(digest) && { repository, digest: digest as string, urls: urls.slice(0, URLS_LIMIT) }
}
