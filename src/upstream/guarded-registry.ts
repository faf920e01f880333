import type { RegistryUpstream } from './registry-upstream.js'

/** Asks a question as its upstream may be asked: not while it is ill, and once more when it stumbles. */
type Guard = <Value>(signal: AbortSignal, question: () => Promise<Value>) => Promise<Value>

/** A registry whose every question goes through the guard of its upstream. */
export function guardRegistry(registry: RegistryUpstream, guard: Guard): RegistryUpstream {
  return {
    host: registry.host,
    platform: registry.platform,
    pullsAny: registry.pullsAny,
    follows: (repository, tag) => registry.follows(repository, tag),
    mayPull: (repository, tag) => registry.mayPull(repository, tag),
    blobStatement: (repository, digest, sizeBytes) => registry.blobStatement(repository, digest, sizeBytes),
    headManifest: (repository, reference, signal) =>
      guard(signal, () => registry.headManifest(repository, reference, signal)),
    getManifest: (repository, reference, signal) =>
      guard(signal, () => registry.getManifest(repository, reference, signal)),
    image: (reference, signal) => guard(signal, () => registry.image(reference, signal)),
    listTags: (repository, signal) => guard(signal, () => registry.listTags(repository, signal)),
    headBlob: (repository, digest, signal) => guard(signal, () => registry.headBlob(repository, digest, signal)),
  }
}
