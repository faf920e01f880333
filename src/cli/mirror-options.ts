import type { Command, OptionValues } from '@commander-js/extra-typings'
import { type Config, type Listen, loadConfig } from '../config.js'
import { hasCode } from '../errors.js'
import { parseTokenHash } from '../parts/access-token.js'
import { CommandFailure, MISUSED } from './command.js'
import { readConfig } from './read-config.js'
import { readTextFile } from './read-text-file.js'
import type { Surroundings } from './surroundings.js'

const DEFAULT_CONFIG = 'config.yaml'

/** What the options of `addMirrorOptions` come to. */
export interface MirrorOptions {
  readonly config?: string | undefined
  readonly url?: string | undefined
  readonly tokenFile?: string | undefined
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

/** Where a mirror answers its operator, and how we prove who we are and who it is. */
export interface MirrorAddress {
  /** `http://127.0.0.1:8081`, `https://...`, or `unix:/path`. */
  readonly url: string
  readonly token: { readonly text: string; readonly from: string } | undefined
  /** PEM: who may vouch for the mirror, instead of the system's authorities. */
  readonly ca: string | undefined
  /** PEM: the mirror's own certificate, read from its configuration: no name in it has to fit. */
  readonly ownCertificate: string | undefined
  /** PEM: our own certificate and its key, for a mirror that lets operators in by such. */
  readonly client: { readonly cert: string; readonly key: string } | undefined
  /** How whoever finds nobody there would start it. */
  readonly startCommand: string
}

/** Nobody is there to be asked: as far as can be seen from here, no mirror runs. */
export class NoMirror extends CommandFailure {}

/** Gives a command the options that say which mirror to ask. */
export function addMirrorOptions<Args extends unknown[], Options extends OptionValues>(
  command: Command<Args, Options>,
) {
  return command
    .option('--config <file>', `the config file of the mirror to ask (default: ${DEFAULT_CONFIG}, if there is one)`)
    .option('--url <url>', 'its operator listener instead: http://127.0.0.1:8081 or unix:/path; or IMGAPI_MIRROR_URL')
    .option('--token-file <file>', 'a file with the token that a mirror elsewhere asks for')
    .option('--ca <file>', "PEM file with the authorities that may vouch for the mirror, instead of the system's")
    .option(
      '--cert <file>',
      'PEM file with a certificate that the mirror knows you by, and its key if --key is not given',
    )
    .option('--key <file>', 'PEM file with the key of --cert')
}

/**
 * Which mirror is meant: `--url`, else `--config`, else IMGAPI_MIRROR_URL, else the config file that lies here, else the
 * place where a mirror listens that has been told nothing else.
 *
 * @throws MirrorError CONFIG_INVALID; CommandFailure when that mirror has no operator listener, or a file cannot be read.
 */
export async function findMirror(options: MirrorOptions, surroundings: Surroundings): Promise<MirrorAddress> {
  const { environment } = surroundings
  const { tokenFile } = options
  const token = tokenFile && { text: (await readTextFile(tokenFile, surroundings)).trim(), from: tokenFile }
  const ca = options.ca && (await readTextFile(options.ca, surroundings))
  const cert = options.cert && (await readTextFile(options.cert, surroundings))
  const key = options.key ? await readTextFile(options.key, surroundings) : cert
  if (options.cert && key && !key.includes('PRIVATE KEY-----')) {
    const keyless = options.key ?? `${options.cert}`
    const advice = options.key ? '' : '; --key names the file that has'
    throw new CommandFailure(`${keyless} has no private key in it${advice}`)
  }
  const proofs = { token: token || undefined, ca: ca || undefined, client: cert && key ? { cert, key } : undefined }

  const url = urlElsewhere(options, environment)
  if (url !== undefined) {
    return { ...proofs, url: checkedUrl(url), ownCertificate: undefined, startCommand: 'imgapi-mirror serve' }
  }
  const path = options.config ?? DEFAULT_CONFIG
  const config = await readMirrorConfig(options, surroundings)
  const [listen] = config.operator
  if (listen === undefined) {
    throw new NoMirror(
      `${path}: this mirror has no operator listener (operator: []), and cannot be asked; --url asks another`,
    )
  }
  const ownToken = config.operatorAccess.token?.reveal()
  return {
    ...proofs,
    token: proofs.token ?? (ownToken && !parseTokenHash(ownToken) ? { text: ownToken, from: path } : undefined),
    url: urlOf(listen),
    ownCertificate: typeof listen === 'string' ? undefined : await readTextFile(listen.cert, surroundings),
    startCommand: `imgapi-mirror serve --config ${path}`,
  }
}

/** The url that was said outright, if one was: then no config file counts, and no directory here. */
export function urlElsewhere(
  { config, url }: MirrorOptions,
  environment: Surroundings['environment'],
): string | undefined {
  return url ?? (config === undefined ? environment.IMGAPI_MIRROR_URL || undefined : undefined)
}

/**
 * The config file that `--config` names, else the one that lies here, else what a mirror does that has been told nothing.
 * @throws MirrorError CONFIG_INVALID.
 */
export async function readMirrorConfig(options: MirrorOptions, surroundings: Surroundings): Promise<Config> {
  const path = options.config ?? DEFAULT_CONFIG
  try {
    return await readConfig(path, surroundings)
  } catch (error) {
    const isMissing = error instanceof Error && hasCode(error.cause, 'ENOENT')
    if (options.config !== undefined || !isMissing) throw error
    const { environment, readFile } = surroundings
    return await loadConfig({ path, text: '', environment, readFile })
  }
}

function urlOf(listen: Listen): string {
  const [address, scheme] = typeof listen === 'string' ? [listen, 'http'] : [listen.address, 'https']
  if (address.startsWith('unix:')) return address
  // All addresses are no address to ask.
  return `${scheme}://${address.replace(/^0\.0\.0\.0:/, '127.0.0.1:').replace(/^\[::\]:/, '[::1]:')}`
}

function checkedUrl(text: string): string {
  if (/^unix:[^\0]+$/.test(text)) return text
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin
  throw new CommandFailure(
    `"${text}" is no address of an operator listener, such as http://127.0.0.1:8081 or unix:/path`,
    MISUSED,
  )
}
