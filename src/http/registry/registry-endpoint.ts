import type Koa from 'koa'
import type { Registry, Repository } from '../../mirror/registry.js'
import { Refusal } from '../answers.js'
import type { Authenticator } from '../auth/authenticator.js'
import type { Context, RequestState } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { getBlob } from './get-blob.js'
import { getManifest } from './get-manifest.js'
import { getReferrers } from './get-referrers.js'
import { listRepositories } from './list-repositories.js'
import { listTags } from './list-tags.js'
import { registryDialect } from './registry-answers.js'
import { parseRegistryPath, type RegistryPath } from './registry-path.js'

export interface RegistryEndpointOptions {
  readonly registry: Registry
  readonly authenticator: Authenticator
  /** What stands before our paths where clients see us, such as `/mirror`: links lead there. */
  readonly pathPrefix: string
}

/**
 * The OCI distribution API, for reading, under /v2/: everything else goes on to whoever is next.
 *
 * Source: opencontainers/distribution-spec, spec.md; distribution, docs/content/spec/api.md.
 */
export function answerRegistry(options: RegistryEndpointOptions): Koa.Middleware<RequestState> {
  const { authenticator } = options
  return async (context, next) => {
    if (!/^\/v2(?:\/|$)/.test(context.path)) return await next()
    context.state.dialect = registryDialect
    context.state.route = '/v2/'
    context.set({ ...registryDialect.headers })
    if (context.method !== 'GET' && context.method !== 'HEAD') {
      throw new Refusal(405, 'UNSUPPORTED', `${context.method} is not supported: this registry is for reading`, {
        headers: { Allow: 'GET, HEAD' },
      })
    }
    // Of blobs too: whoever logs in with a wrong password is to be told, and /v2/ is where clients try it.
    await authenticator.reader(context)
    const path = parseRegistryPath(context.path)
    context.state.route = ROUTES[path.kind]
    await answer(context, options, path)
  }
}

const ROUTES: Record<RegistryPath['kind'], string> = {
  base: '/v2/',
  catalogue: '/v2/_catalog',
  tags: '/v2/:name/tags/list',
  manifest: '/v2/:name/manifests/:reference',
  blob: '/v2/:name/blobs/:digest',
  referrers: '/v2/:name/referrers/:digest',
}

async function answer(
  context: Context,
  { pathPrefix, registry }: RegistryEndpointOptions,
  path: RegistryPath,
): Promise<void> {
  switch (path.kind) {
    case 'base':
      return await sendJson(context, {}, { cacheControl: 'no-cache' })
    case 'catalogue':
      return await listRepositories(context, registry, pathPrefix)
    case 'tags':
      return await listTags(context, repositoryOf(context, registry, path.name), path.name, pathPrefix)
    case 'manifest':
      return await getManifest(context, repositoryOf(context, registry, path.name), path.reference)
    case 'blob':
      return await getBlob(context, repositoryOf(context, registry, path.name), path.digest)
    case 'referrers':
      repositoryOf(context, registry, path.name)
      return getReferrers(context)
  }
}

/** containerd says in `ns` which registry it would have asked, and likes to hear that it was understood. */
function repositoryOf(context: Context, registry: Registry, name: string): Repository {
  const namespace = new URLSearchParams(context.querystring).get('ns') || undefined
  const repository = registry.repository(name, namespace)
  if (namespace !== undefined) context.set('OCI-Namespace', repository.host)
  return repository
}
