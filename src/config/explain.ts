import type { z } from 'zod'
import { CONFLICT_WORDS } from '../images/conflict-policy.js'
import { closestWord } from '../parts/closest-word.js'
import { parseWeeklyWindow, WINDOW_FORM } from '../parts/weekly-window.js'
import { usersOf } from './check-user-files.js'
import { formatPath, formatValue, type Path, type Problem, valueAt } from './problem.js'
import { OVERRIDDEN_FORM, parseOverridden } from './schema.js'
import { bareSchema, formsOf, isMapping, keysOf } from './walk-schema.js'

type Issue = z.core.$ZodIssue

/** What zod complains of, as problems an operator can act on. `data` is what was parsed. */
export function explainIssues(issues: readonly Issue[], schema: z.ZodType, data: unknown): Problem[] {
  return issues.flatMap((issue) => unionsResolved(issue, [], data)).flatMap((issue) => explain(issue, schema, data))
}

/**
 * Of a value that may have several forms, zod reports all complaints of all forms. The form that was meant is the one
 * that does not object to the kind of value found, so its complaints are the ones to show.
 */
function unionsResolved(issue: Issue, base: Path, data: unknown): Issue[] {
  const path = [...base, ...(issue.path as Path)]
  if (issue.code !== 'invalid_union') return [{ ...issue, path }]
  const meant = issue.errors.filter(
    (form) => !form.some(({ code, path }) => code === 'invalid_type' && path.length === 0),
  )
  const [form] = meant
  if (meant.length !== 1 || !form) return [{ ...issue, path }]
  return form.flatMap((inner) => unionsResolved(inner, path, data))
}

function explain(issue: Issue, schema: z.ZodType, data: unknown): Problem[] {
  const path = issue.path as Path
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(keysAt(schema, path, valueAt(data, path)))
    return issue.keys.map((key) => ({ path: [...path, key], isKey: true, complaint: unknownKey(key, known) }))
  }
  const value = valueAt(data, path)
  const found = value === undefined || value === null ? 'found nothing' : `found ${shown(path, value)}`
  return [{ path, complaint: `${found}; right is ${issue.message}` }]
}

/** Users' entries whose values may stand in a message. In any other place somebody may have written a password. */
const SHOWN_OF_USERS = ['name', 'passwordFile', 'tokenFile', 'sshKeys', 'readOnly']

const SHOWN_OF_PUBLISH = ['sources', 'privateAddresses', 'ca']

function shown(path: Path, value: unknown): string {
  const isScalar = typeof value !== 'object' || value === null
  const [top, users, index, key] = path
  const mayBeSecret =
    top === 'publish' &&
    !SHOWN_OF_PUBLISH.includes(String(users)) &&
    (!isScalar || users !== 'users' || index === undefined || !SHOWN_OF_USERS.includes(String(key)))
  return mayBeSecret ? 'something else, which is not shown' : formatValue(value)
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = closestWord(key, known)
  const advice = meant ? `did you mean ${meant}?` : `right is one of ${known.join(', ')}`
  return `found a key we do not know; ${advice}`
}

/** The keys a mapping at `path` may have. */
function keysAt(schema: z.ZodType, path: Path, value: unknown): Readonly<Record<string, z.ZodType>> {
  const [step, ...rest] = path
  for (const form of formsOf(schema)) {
    const keys = keysOf(form)
    if (step === undefined) {
      if (keys && isMapping(value)) return keys
      continue
    }
    const bare = bareSchema(form) as unknown as { def: { element?: z.ZodType } }
    const inner = typeof step === 'number' ? bare.def.element : keys?.[step]
    if (inner) return keysAt(inner, rest, value)
  }
  return {}
}

/**
 * What no key can see by itself. Looks at whatever is there, whether or not the rest of the file is right.
 * @param preset what keys at the top are when the file does not name them.
 */
export function checkAcross(data: unknown, preset: (key: string) => unknown): Problem[] {
  const problems: Problem[] = checkListeners(isMapping(data) ? data : {}, preset)
  const upstreams = isMapping(data) && Array.isArray(data.upstreams) ? data.upstreams : []
  const seen = new Map<unknown, number>()

  problems.push(...checkChannels(data, upstreams), ...checkConflictOverrides(data, upstreams), ...checkPrewarm(data))
  if (isMapping(data)) problems.push(...checkWindows(data.rate, ['rate']))
  for (const [index, upstream] of upstreams.entries()) {
    if (!isMapping(upstream)) continue
    const path = ['upstreams', index]
    const { name, type, channel, url } = upstream
    problems.push(...checkWindows(upstream.rate, [...path, 'rate']))

    const earlier = seen.get(name)
    if (typeof name === 'string' && earlier !== undefined) {
      const complaint = `found ${formatValue(name)}, as in ${formatPath(['upstreams', earlier])}; right is a name of its own`
      problems.push({ path: [...path, 'name'], complaint })
    } else seen.set(name, index)

    if ((type === 'dsapi' || type === 'docker' || type === 'bundle') && channel !== undefined) {
      const complaint = `found a channel; right is none, as upstreams of type ${type} have no channels`
      problems.push({ path: [...path, 'channel'], isKey: true, complaint })
    }
    const inUrl = channelIn(url)
    if (typeof channel === 'string' && inUrl !== undefined && inUrl !== channel) {
      const complaint = `found ${formatValue(channel)}, but url says channel=${inUrl}; right is to name it once`
      problems.push({ path: [...path, 'channel'], complaint })
    }
    problems.push(
      ...keysOfOtherTypes(upstream, path),
      ...pairMissing(upstream, path, 'cert', 'key'),
      ...pairMissing(upstream, path, 'username', 'passwordFile'),
    )
  }
  return [...problems, ...checkUsers(data), ...checkAccel(data)]
}

/** Nobody would be handed a file over, or somebody files that were to be compared with their hashes first. */
function checkAccel(data: unknown): Problem[] {
  if (!isMapping(data) || data.accelRedirect === undefined) return []
  const complain = (complaint: string): Problem => ({ path: ['accelRedirect'], isKey: true, complaint })
  const { trustedProxies = [], verifyOnRead } = data
  const problems: Problem[] = []
  if (verifyOnRead === 'always') {
    problems.push(complain('found it beside verifyOnRead: always; right is one of them, as nginx verifies nothing'))
  }
  if (Array.isArray(trustedProxies) && trustedProxies.length === 0) {
    problems.push(complain('found no trustedProxies; right is to name nginx there, as files are handed to nobody else'))
  }
  return problems
}

function checkUsers(data: unknown): Problem[] {
  const problems: Problem[] = []
  const users = usersOf(data)
  const seen = new Map<unknown, number>()
  for (const [index, user] of users.entries()) {
    if (!isMapping(user)) continue
    const path = ['publish', 'users', index]
    const earlier = seen.get(user.name)
    if (typeof user.name === 'string' && earlier !== undefined) {
      const complaint = `found ${formatValue(user.name)}, as in ${formatPath(['publish', 'users', earlier])}; right is a name of its own`
      problems.push({ path: [...path, 'name'], complaint })
    } else seen.set(user.name, index)
    for (const [one, other] of [
      ['passwordFile', 'passwordHash'],
      ['tokenFile', 'tokenHash'],
    ] as const) {
      if (user[one] === undefined || user[other] === undefined) continue
      problems.push({ path: [...path, other], isKey: true, complaint: `found ${one} too; right is one of them` })
    }
    const proofs = [user.passwordFile, user.passwordHash, user.tokenFile, user.tokenHash, user.sshKeys]
    if (!proofs.some((proof) => proof !== undefined && !(Array.isArray(proof) && proof.length === 0))) {
      const complaint =
        'found nothing to prove it with; right is at least one of passwordFile, passwordHash, tokenFile, tokenHash, sshKeys'
      problems.push({ path, complaint })
    }
  }
  if (isMapping(data) && data.read === 'users' && users.length === 0) {
    problems.push({ path: ['read'], complaint: 'found "users", and publish.users is empty; right is open, or a user' })
  }
  return problems
}

/** The keys of `windows`; here and not in the schema, since that looks at them only once all values are right. */
function checkWindows(rate: unknown, path: Path): Problem[] {
  const windows = isMapping(rate) && isMapping(rate.windows) ? Object.keys(rate.windows) : []
  return windows
    .filter((window) => !parseWeeklyWindow(window))
    .map((window) => ({
      path: [...path, 'windows', window],
      isKey: true,
      complaint: `found ${formatValue(window)}; right is ${WINDOW_FORM}`,
    }))
}

/** No two listeners want the same address: clients would reach what is for operators alone, or nobody anything. */
function checkListeners(data: Record<string, unknown>, preset: (key: string) => unknown): Problem[] {
  const problems: Problem[] = []
  const taken: { readonly address: string; readonly path: Path }[] = []
  for (const key of ['listen', 'operator']) {
    for (const { address, path } of addressesIn(data[key] ?? preset(key), [key])) {
      const other = taken.find((each) => areSamePlace(each.address, address))
      if (!other) taken.push({ address, path })
      else {
        const complaint = `found ${formatValue(address)}, which is taken by ${formatPath(other.path)}: ${other.address}; right is an address of its own`
        // What the file does not name cannot be pointed at.
        const isNamed = data[key] !== undefined
        problems.push({ path: isNamed ? path : other.path, complaint })
      }
    }
  }
  return problems
}

function addressesIn(listeners: unknown, path: Path): { address: string; path: Path }[] {
  if (typeof listeners === 'string') return [{ address: listeners, path }]
  if (Array.isArray(listeners)) return listeners.flatMap((each, index) => addressesIn(each, [...path, index]))
  return isMapping(listeners) ? addressesIn(listeners.address, [...path, 'address']) : []
}

/** Port 0 is another one each time; every interface includes each of them. */
function areSamePlace(one: string, other: string): boolean {
  const [left, right] = [one, other].map((address) => /^(?!unix:)(.*):(\d+)$/.exec(address.toLowerCase()))
  if (!left || !right) return one === other
  if (Number(left[2]) !== Number(right[2]) || Number(left[2]) === 0) return false
  return left[1] === right[1] || [left[1], right[1]].some((host) => host === '0.0.0.0' || host === '[::]')
}

/** The keys of `conflictOverrides`, and whether upstreams that are named there exist. */
function checkConflictOverrides(data: unknown, upstreams: readonly unknown[]): Problem[] {
  const overrides = isMapping(data) && isMapping(data.conflictOverrides) ? data.conflictOverrides : {}
  const words: readonly unknown[] = [...CONFLICT_WORDS, ...upstreams.filter(isMapping).map(({ name }) => name)]
  return Object.entries(overrides).flatMap(([text, policy]) => {
    const path = ['conflictOverrides', text]
    const problems: Problem[] = []
    if (!parseOverridden(text)) {
      problems.push({ path, isKey: true, complaint: `found ${formatValue(text)}; right is ${OVERRIDDEN_FORM}` })
    }
    if (typeof policy === 'string' && !words.includes(policy)) {
      problems.push({
        path,
        complaint: `found ${formatValue(policy)}; right is one of ${words.join(', ')}, {quorum: 2}`,
      })
    }
    return problems
  })
}

/** Channels have names of their own, at most one is the default, and every upstream fills one that there is. */
function checkChannels(data: unknown, upstreams: readonly unknown[]): Problem[] {
  const problems: Problem[] = []
  const channels = isMapping(data) && Array.isArray(data.channels) ? data.channels.filter(isMapping) : []
  const names = channels.map(({ name }) => name)
  const ours = channels.length === 0 ? 'none, as there are no channels' : `one of ${names.join(', ')}`
  const defaultAt = channels.findIndex((channel) => channel.default === true)
  for (const [index, { name, default: isDefault }] of channels.entries()) {
    const path = ['channels', index]
    const earlier = names.indexOf(name)
    if (typeof name === 'string' && earlier < index) {
      const complaint = `found ${formatValue(name)}, as in ${formatPath(['channels', earlier])}; right is a name of its own`
      problems.push({ path: [...path, 'name'], complaint })
    }
    if (isDefault === true && defaultAt < index) {
      const complaint = `found a second default, besides ${formatPath(['channels', defaultAt])}; right is one at most`
      problems.push({ path: [...path, 'default'], complaint })
    }
  }
  for (const [index, upstream] of upstreams.entries()) {
    if (!isMapping(upstream)) continue
    const path = ['upstreams', index]
    const into = Array.isArray(upstream.intoChannels) ? upstream.intoChannels : []
    for (const [place, name] of into.entries()) {
      if (names.includes(name)) continue
      const complaint = `found ${formatValue(name)}; right is ${ours}`
      problems.push({ path: [...path, 'intoChannels', place], complaint })
    }
    if (channels.length === 0 || into.length > 0) continue
    const channel = upstream.channel ?? channelIn(upstream.url)
    if (channel === undefined && defaultAt < 0) {
      const complaint = 'goes nowhere, as no channel is the default; right is to say where, with intoChannels'
      problems.push({ path, complaint })
    }
    if (typeof channel === 'string' && channel !== '*' && !names.includes(channel)) {
      const complaint = `found ${formatValue(channel)}, which is no channel of ours to go into; right is ${ours}, or to say where, with intoChannels`
      problems.push({ path: upstream.channel === undefined ? [...path, 'url'] : [...path, 'channel'], complaint })
    }
  }
  return problems
}

/** Policies have names of their own, say what they want, and name channels that there are. */
function checkPrewarm(data: unknown): Problem[] {
  const { channels, prewarm } = isMapping(data) ? data : {}
  const policies = Array.isArray(prewarm) ? prewarm : []
  const ours = Array.isArray(channels) ? channels.filter(isMapping).map(({ name }) => name) : []
  const isEmpty = (list: unknown) => list === undefined || (Array.isArray(list) && list.length === 0)
  return policies.flatMap((policy, index) => {
    if (!isMapping(policy)) return []
    const path = ['prewarm', index]
    const problems: Problem[] = []
    const earlier = policies.findIndex((each) => isMapping(each) && each.name === policy.name)
    if (typeof policy.name === 'string' && earlier < index) {
      const complaint = `found ${formatValue(policy.name)}, as in ${formatPath(['prewarm', earlier])}; right is a name of its own`
      problems.push({ path: [...path, 'name'], complaint })
    }
    if (isEmpty(policy.match) && isEmpty(policy.docker)) {
      problems.push({ path, complaint: 'wants nothing; right is a list under match, or under docker' })
    }
    for (const [place, name] of (Array.isArray(policy.channels) ? policy.channels : []).entries()) {
      if (ours.includes(name)) continue
      const right = ours.length === 0 ? 'none, as there are no channels' : `one of ${ours.join(', ')}`
      problems.push({ path: [...path, 'channels', place], complaint: `found ${formatValue(name)}; right is ${right}` })
    }
    return problems
  })
}

/** Keys that only mean something to Docker registries, and what is said of them where nothing is meant. */
const DOCKER_KEYS = { images: '[]', pull: '"images"', recompress: '"none"', authHosts: '[]', dockerConfig: undefined }

function keysOfOtherTypes(upstream: Record<string, unknown>, path: Path): Problem[] {
  const { dockerConfig, images, pull, type, url, username } = upstream
  const bundleProblems = keysOfBundles(upstream, path)
  if (type !== 'docker') {
    const complaint = 'found a key for type docker only; right is none, or "type: docker"'
    const isMeant = ([key, none]: [string, unknown]) => ![undefined, none].includes(JSON.stringify(upstream[key]))
    const meant = Object.entries(DOCKER_KEYS).filter(isMeant)
    return [...bundleProblems, ...meant.map(([key]) => ({ path: [...path, key], isKey: true, complaint }))]
  }
  const problems: Problem[] = [...bundleProblems]
  if (username !== undefined && dockerConfig !== undefined) {
    const complaint = 'found it beside username; right is one of them'
    problems.push({ path: [...path, 'dockerConfig'], isKey: true, complaint })
  }
  const namesNone = images === undefined || (Array.isArray(images) && images.length === 0)
  if (namesNone && pull !== 'any') {
    const complaint = 'found type docker, and no images; right is a list under images, or "pull: any"'
    problems.push({ path: [...path, 'type'], complaint })
  }
  const parsed = typeof url === 'string' && URL.canParse(url) ? new URL(url) : undefined
  const isHub = parsed?.hostname === 'index.docker.io' && /^\/v1\/?$/.test(parsed.pathname)
  if (parsed && !isHub && (parsed.pathname !== '/' || parsed.search !== '')) {
    const complaint = `found ${formatValue(url)}; right is a registry without a path, such as https://docker.io`
    problems.push({ path: [...path, 'url'], complaint })
  }
  return problems
}

/** What only means something to bundles: that it is in a directory, and that nobody need have signed it. */
function keysOfBundles({ allowUntrusted, type, url }: Record<string, unknown>, path: Path): Problem[] {
  if (type === 'bundle') return []
  const problems: Problem[] = []
  if (typeof url === 'string' && /^file:/i.test(url)) {
    const complaint = `found ${formatValue(url)}; right is an http or https url, or "type: bundle"`
    problems.push({ path: [...path, 'url'], complaint })
  }
  if (allowUntrusted === true) {
    const complaint = 'found a key for type bundle only; right is none, or "type: bundle"'
    problems.push({ path: [...path, 'allowUntrusted'], isKey: true, complaint })
  }
  return problems
}

function channelIn(url: unknown): string | undefined {
  return typeof url === 'string' && URL.canParse(url)
    ? new URL(url).searchParams.get('channel') || undefined
    : undefined
}

function pairMissing(mapping: Record<string, unknown>, path: Path, one: string, other: string): Problem[] {
  const [present, absent] = mapping[one] === undefined ? [other, one] : [one, other]
  if (mapping[present] === undefined || mapping[absent] !== undefined) return []
  const complaint = `found ${present} without ${absent}; right is both or neither`
  return [{ path: [...path, present], isKey: true, complaint }]
}
