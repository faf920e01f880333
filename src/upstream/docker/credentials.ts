import { isMirrorError, MirrorError } from '../../errors.js'
import { parseRegistryAddress } from '../../images/docker/registry-address.js'
import { isJsonObject, type JsonObject } from '../../parts/json-object.js'

/** How we prove to a registry who we are. */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  /** What `docker login` got instead of a password: it buys tokens, by OAuth 2. */
  | { readonly kind: 'identity'; readonly username: string; readonly identityToken: string }

/** Names that Docker Hub goes by in a config.json. */
const HUB_NAMES = ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com']

/**
 * The credentials for one registry in the text of a Docker `config.json`, or of podman's `auth.json`.
 *
 * Source: docker/cli, cli/config/configfile (`auths` with `auth`, or with `username` and `password`; `identitytoken`;
 * `credHelpers`, `credsStore`); Docker Hub stands under `https://index.docker.io/v1/`.
 *
 * @param host as clients name it: `docker.io`, `registry.example.com:5000`.
 * @throws MirrorError CONFIG_INVALID, always without a word of what is secret, for what has no credentials for it: who names
 *   a file for them does not want to be anonymous.
 */
export function credentialsFrom(text: string, host: string): Credentials {
  const config = parse(text)
  const { auths, credHelpers, credsStore } = config
  const entries = isJsonObject(auths) ? Object.entries(auths) : []
  for (const [name, entry] of entries) {
    if (hostOf(name) !== host || !isJsonObject(entry)) continue
    const found = credentialsOf(entry)
    if (found) return found
  }
  const helper = helperFor(credHelpers, host) ?? (typeof credsStore === 'string' ? credsStore : undefined)
  if (helper !== undefined) {
    throw invalid(
      `leaves those for ${host} to the helper docker-credential-${helper}, which we do not run; write them as "auths" into a file of their own, or use username and passwordFile`,
    )
  }
  throw invalid(
    `has no credentials for ${host}; it has some for ${entries.map(([name]) => name).join(', ') || 'nobody'}`,
  )
}

function parse(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text)
    if (isJsonObject(value)) return value
  } catch {
    // Told below, without the text.
  }
  throw invalid('is not the JSON that docker login writes')
}

function helperFor(helpers: unknown, host: string): string | undefined {
  if (!isJsonObject(helpers)) return undefined
  const [, helper] = Object.entries(helpers).find(([name]) => hostOf(name) === host) ?? []
  return typeof helper === 'string' ? helper : undefined
}

/** `https://quay.io/v1/`, `quay.io/v2`, `quay.io`: docker compares hosts and nothing else. */
function hostOf(name: string): string | undefined {
  const bare = name.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
  if (HUB_NAMES.includes(bare)) return 'docker.io'
  try {
    return parseRegistryAddress(`https://${bare}`).host
  } catch (error) {
    if (!isMirrorError(error)) throw error
    return undefined
  }
}

function credentialsOf({ auth, identitytoken, password, username }: JsonObject): Credentials | undefined {
  const [ofAuth, secretOfAuth] = decode(auth)
  const name = ofAuth ?? textOf(username) ?? ''
  const identityToken = textOf(identitytoken)
  if (identityToken !== undefined) return { kind: 'identity', username: name, identityToken }
  const secret = secretOfAuth ?? textOf(password)
  return name === '' || secret === undefined ? undefined : { kind: 'password', username: name, password: secret }
}

/** `user:password` in base64; a password may have colons, and trailing NULs are an old client's padding. */
function decode(auth: unknown): readonly [] | readonly [string, string] {
  const decoded = typeof auth === 'string' ? Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '') : ''
  const colon = decoded.indexOf(':')
  return colon > 0 ? [decoded.slice(0, colon), decoded.slice(colon + 1)] : []
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function invalid(reason: string): MirrorError {
  return new MirrorError('CONFIG_INVALID', `the file of dockerConfig ${reason}`)
}
