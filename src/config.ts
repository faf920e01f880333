import { dirname, resolve } from 'node:path'
import { checkTrustedKeys } from './config/check-trusted-keys.js'
import { checkUserFiles } from './config/check-user-files.js'
import { applyEnvironment } from './config/environment.js'
import { checkAcross, explainIssues } from './config/explain.js'
import { formatPath, formatValue, type Problem } from './config/problem.js'
import { contentFiles, type Quota, type Settings, settingsSchema } from './config/schema.js'
import { defaultOf, leavesOf, withDefaults } from './config/walk-schema.js'
import { withoutHashes } from './config/without-hashes.js'
import { parseYamlText } from './config/yaml-text.js'
import { MirrorError } from './errors.js'
import type { RatePlan } from './parts/rate-plan.js'
import { Secret } from './parts/secret.js'

export { exampleYaml } from './config/example-yaml.js'
export { jsonSchema } from './config/json-schema.js'

/**
 * Where to listen: `0.0.0.0:8080`, `[::1]:8080`, `unix:/absolute/path`; for TLS with the absolute paths of two PEM files,
 * certificate and key.
 */
export type Listen = string | { readonly address: string; readonly cert: string; readonly key: string }

/** What the operator decided: checked, with defaults filled in, files read, and frozen. */
export interface Config {
  /** The file it came from, for messages. */
  readonly path: string
  /** At least one. */
  readonly listen: readonly Listen[]
  /** None: no operator listener. */
  readonly operator: readonly Listen[]
  readonly operatorAccess: {
    /** A token, or the text of its hash. */
    readonly token: Secret | undefined
    /** PEM. */
    readonly clientCa: string | undefined
    readonly isOpenLocally: boolean
    readonly areProbesOpen: boolean
  }
  /** What it means that an image is not public: nothing, or that only users see it. */
  readonly mode: Settings['mode']
  /** Who may read. */
  readonly read: Settings['read']
  readonly publish: {
    /** Who may publish, and who may read where that is not open. */
    readonly users: readonly UserConfig[]
    /** Origins: scheme, host and port. */
    readonly sources: readonly string[]
    readonly privateAddresses: boolean
    /** PEM. */
    readonly ca: string | undefined
  }
  readonly publicUrl: URL | undefined
  /** Addresses, networks, or `unix`. */
  readonly trustedProxies: readonly string[]
  /** Where nginx has `blobs/` of the data directory, such as `/held/`; `undefined`: all bytes go through us. */
  readonly accelRedirect: string | undefined
  readonly datasets: Settings['datasets']
  /** Absolute. */
  readonly dataDirectory: string
  /** `undefined`: only the disk sets a limit. */
  readonly quota: Quota | undefined
  readonly pins: Settings['pins']
  /** What is fetched before anyone asks. */
  readonly prewarm: Settings['prewarm']
  /** `undefined`: off. */
  readonly scrub: { readonly everyMs: number; readonly bytesPerSecond: number } | undefined
  readonly verifyOnRead: Settings['verifyOnRead']
  readonly isOffline: boolean
  readonly refreshMs: number
  readonly holdbackBytes: number
  readonly withdrawn: Settings['withdrawn']
  readonly conflicts: Settings['conflicts']
  readonly conflictOverrides: Settings['conflictOverrides']
  readonly firstAnswerWaitMs: number
  readonly missTtlMs: number
  readonly maxAncestry: number
  /** Of all upstreams together. */
  readonly rate: RatePlan
  /** None: a mirror without channels. At most one is the default. */
  readonly channels: readonly { readonly name: string; readonly description: string; readonly isDefault: boolean }[]
  readonly bundles: {
    /** `undefined`: what the machine is called. */
    readonly site: string | undefined
    /** Contents of `.pub` files, as minisign writes them. */
    readonly trustedKeys: readonly string[]
    readonly wanted: Settings['bundles']['wanted']
    readonly isDiode: boolean
  }
  /** Order is precedence. */
  readonly upstreams: readonly UpstreamConfig[]
  readonly log: Settings['log']
  readonly limits: { readonly listBytes: number; readonly manifestBytes: number; readonly layerBytes: number }
  /** All of the above as a file would say it: every key by its name, environment and defaults included; hashes left out. */
  readonly settings: unknown
}

type UpstreamSettings = Settings['upstreams'][number]

/** Texts in `ca`, `cert` and `key` are PEM. */
export interface UpstreamConfig
  extends Readonly<
    Pick<
      UpstreamSettings,
      | 'name'
      | 'type'
      | 'url'
      | 'intoChannels'
      | 'voice'
      | 'include'
      | 'exclude'
      | 'insecure'
      | 'connections'
      | 'requests'
      | 'rate'
      | 'allowMissingDigest'
      | 'images'
      | 'platform'
      | 'pull'
      | 'recompress'
      | 'allowUntrusted'
    >
  > {
  /** As `channel` or the url says it. */
  readonly channel: string | undefined
  readonly username: string | undefined
  readonly password: Secret | undefined
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: Secret | undefined
  readonly timeouts: { readonly connectMs: number; readonly headersMs: number; readonly stallMs: number }
  /** Origins: scheme, host and port. */
  readonly fileHosts: readonly string[]
  readonly authHosts: readonly string[]
  readonly dockerConfig: Secret | undefined
}

/** Somebody we know, and what they prove it with. Paths are absolute; what is in them may change while we run. */
export interface UserConfig {
  readonly name: string
  readonly isReadOnly: boolean
  readonly passwordFile: string | undefined
  readonly passwordHash: Secret | undefined
  readonly tokenFile: string | undefined
  readonly tokenHash: Secret | undefined
  readonly sshKeyFiles: readonly string[]
}

export interface ConfigSource {
  /** Where `text` was read; relative paths in it start from its directory. */
  readonly path: string
  readonly text: string
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Reads certificates, keys and passwords. */
  readonly readFile: (path: string) => Promise<string>
}

/**
 * Reads and checks the configuration.
 * @throws MirrorError CONFIG_INVALID with everything that is wrong, one line each: file, line, column (or environment
 *   variable), key, what was found and what is right.
 */
export async function loadConfig({ path, text, environment, readFile }: ConfigSource): Promise<Config> {
  const yaml = parseYamlText(text)
  if (yaml.faults.length > 0) {
    throw invalid(
      path,
      yaml.faults.map(({ position, message }) => `${path}:${position.line}:${position.column}: ${message}`),
    )
  }

  const { data, variables, complaints } = applyEnvironment(settingsSchema, yaml.data, environment)
  const parsed = settingsSchema.safeParse(data)
  const files = await readContentFiles(data, dirname(path), readFile)
  const problems = [
    ...explainIssues(parsed.error?.issues ?? [], settingsSchema, data),
    ...checkAcross(data, (key) => defaultOf(settingsSchema.shape[key as keyof typeof settingsSchema.shape])),
    ...files.problems,
    ...checkUserFiles(data, files.contents),
    ...checkTrustedKeys(data, files.contents),
  ]
  if (parsed.data && problems.length === 0 && complaints.length === 0) {
    return deepFreeze(makeConfig(path, parsed.data, files.contents, withoutHashes(withDefaults(settingsSchema, data))))
  }

  const lines = problems.map((problem) => {
    const part = problem.isKey ? 'key' : 'value'
    const position = yaml.positionOf(problem.path, part)
    const variable = variableFor(problem, variables)
    const where = variable ? `environment variable ${variable}` : `${path}:${position.line}:${position.column}`
    const key = formatPath(problem.path)
    return { position, line: `${where}: ${key === '' ? '' : `${key}: `}${problem.complaint}` }
  })
  lines.sort((left, right) => left.position.line - right.position.line || left.position.column - right.position.column)
  throw invalid(path, [...lines.map(({ line }) => line), ...complaints])
}

/**
 * The config as its file would say it, every key named, with defaults and environment: it can be pasted into that file.
 * Paths stand as they were written. It has no secrets: a file names only where they are, and hashes are not shown.
 */
export function describeConfig(config: Config): unknown {
  return config.settings
}

function invalid(path: string, lines: readonly string[]): MirrorError {
  const count = lines.length === 1 ? 'one thing is' : `${lines.length} things are`
  return new MirrorError('CONFIG_INVALID', `${path}: ${count} wrong\n${lines.join('\n')}`)
}

/** The variable that set the value in question, or what it is in. */
function variableFor({ path }: Problem, variables: ReadonlyMap<string, string>): string | undefined {
  for (let length = path.length; length > 0; length--) {
    const variable = variables.get(formatPath(path.slice(0, length)))
    if (variable) return variable
  }
  return undefined
}

interface ContentFiles {
  /** By `formatPath` of the key. */
  readonly contents: ReadonlyMap<string, string>
  readonly problems: readonly Problem[]
}

/** Certificates, keys and passwords together are far smaller; something else was named. */
const LARGEST_CONTENT = 1024 * 1024

/** Reads every file that a key names, also when other keys are wrong, so that all complaints come at once. */
async function readContentFiles(
  data: unknown,
  directory: string,
  readFile: ConfigSource['readFile'],
): Promise<ContentFiles> {
  const contents = new Map<string, string>()
  const problems: Problem[] = []
  for (const { path, schema, value } of leavesOf(settingsSchema, data)) {
    if (!contentFiles.get(schema)?.isRead || typeof value !== 'string' || value === '') continue
    const complain = (complaint: string) =>
      problems.push({ path, complaint: `found ${formatValue(value)}; ${complaint}` })
    try {
      const content = await readFile(resolve(directory, value))
      if (content.trim() === '') complain('right is a file that is not empty')
      else if (content.length > LARGEST_CONTENT) complain('right is a file of at most 1 MiB')
      else contents.set(formatPath(path), content)
    } catch (error) {
      complain(`right is a file we can read (${error instanceof Error ? error.message : String(error)})`)
    }
  }
  return { contents, problems }
}

function makeConfig(
  path: string,
  settings: Settings,
  contents: ReadonlyMap<string, string>,
  asWritten: unknown,
): Config {
  const directory = dirname(resolve(path))
  const secretOf = (key: string) => {
    const content = contents.get(key)
    return content === undefined ? undefined : new Secret(content)
  }

  const addressOf = (address: string) =>
    address.startsWith('unix:') ? `unix:${resolve(directory, address.slice('unix:'.length))}` : address
  const listenOf = (listen: Settings['listen'][number]): Listen => {
    if (typeof listen === 'string') return addressOf(listen)
    const { address, cert, key } = listen
    return { address: addressOf(address), cert: resolve(directory, cert), key: resolve(directory, key) }
  }

  const upstreams = settings.upstreams.map((upstream, index): UpstreamConfig => {
    const where = `upstreams[${index}]`
    const { timeouts, passwordFile, ...rest } = upstream
    const password = contents.get(`${where}.passwordFile`)?.replace(/\r?\n$/, '')
    return {
      ...rest,
      channel: upstream.channel ?? (upstream.url.searchParams.get('channel') || undefined),
      username: upstream.username,
      password: password === undefined ? undefined : new Secret(password),
      ca: contents.get(`${where}.ca`),
      cert: contents.get(`${where}.cert`),
      key: secretOf(`${where}.key`),
      dockerConfig: secretOf(`${where}.dockerConfig`),
      timeouts: { connectMs: timeouts.connect, headersMs: timeouts.headers, stallMs: timeouts.stall },
    }
  })

  const pathOf = (file: string | undefined) => (file === undefined ? undefined : resolve(directory, file))
  const hidden = (hash: string | undefined) => (hash === undefined ? undefined : new Secret(hash))
  const users = settings.publish.users.map(
    (user): UserConfig => ({
      name: user.name,
      isReadOnly: user.readOnly,
      passwordFile: pathOf(user.passwordFile),
      passwordHash: hidden(user.passwordHash),
      tokenFile: pathOf(user.tokenFile),
      tokenHash: hidden(user.tokenHash),
      sshKeyFiles: user.sshKeys.map((file) => resolve(directory, file)),
    }),
  )

  const { scrub } = settings
  const operatorToken = contents.get('operatorAccess.tokenFile')?.trim()
  return {
    path,
    listen: settings.listen.map(listenOf),
    operator: settings.operator.map(listenOf),
    operatorAccess: {
      token: operatorToken === undefined ? undefined : new Secret(operatorToken),
      clientCa: contents.get('operatorAccess.clientCa'),
      isOpenLocally: settings.operatorAccess.local === 'open',
      areProbesOpen: settings.operatorAccess.probes === 'open',
    },
    mode: settings.mode,
    read: settings.read,
    publish: {
      users,
      sources: settings.publish.sources,
      privateAddresses: settings.publish.privateAddresses,
      ca: contents.get('publish.ca'),
    },
    publicUrl: settings.publicUrl,
    trustedProxies: settings.trustedProxies,
    accelRedirect: settings.accelRedirect,
    datasets: settings.datasets,
    dataDirectory: resolve(directory, settings.data),
    quota: settings.quota,
    pins: settings.pins,
    prewarm: settings.prewarm,
    scrub: scrub.every === undefined ? undefined : { everyMs: scrub.every, bytesPerSecond: scrub.rate },
    verifyOnRead: settings.verifyOnRead,
    isOffline: settings.offline,
    refreshMs: settings.refresh,
    holdbackBytes: settings.holdback,
    withdrawn: settings.withdrawn,
    conflicts: settings.conflicts,
    conflictOverrides: settings.conflictOverrides,
    firstAnswerWaitMs: settings.firstAnswerWait,
    missTtlMs: settings.missTtl,
    maxAncestry: settings.maxAncestry,
    rate: settings.rate,
    channels: settings.channels.map(({ default: isDefault, ...channel }) => ({ ...channel, isDefault })),
    bundles: {
      site: settings.bundles.site,
      trustedKeys: settings.bundles.trustedKeys.flatMap(
        (_file, index) => contents.get(`bundles.trustedKeys[${index}]`) ?? [],
      ),
      wanted: settings.bundles.wanted,
      isDiode: settings.bundles.diode,
    },
    upstreams,
    log: settings.log,
    limits: {
      listBytes: settings.limits.list,
      manifestBytes: settings.limits.manifests,
      layerBytes: settings.limits.layer,
    },
    settings: asWritten,
  }
}

/** Plain objects and lists only: a URL or a Secret looks after itself. */
function deepFreeze<Value>(value: Value): Value {
  const isPlain = Array.isArray(value) || Object.getPrototypeOf(Object(value)) === Object.prototype
  if (typeof value !== 'object' || value === null || !isPlain) return value
  for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
