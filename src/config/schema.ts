import { z } from 'zod'
import { isMirrorError } from '../errors.js'
import { parseWant, WANT_FORM, type Want } from '../images/bundle/want.js'
import { CHANNEL_NAME } from '../images/channel-names.js'
import { CONFLICT_WORDS, type ConflictOverride, type ConflictPolicy } from '../images/conflict-policy.js'
import { IMAGE_SELECTION_FORM, parseImageSelection } from '../images/docker/image-selection.js'
import type { Platform } from '../images/docker/registry-manifest.js'
import { type Filter, parseFilter } from '../images/filter.js'
import { parseUuid } from '../images/uuid.js'
import { parseTokenHash } from '../parts/access-token.js'
import { isNetwork, NETWORK_FORM } from '../parts/address-set.js'
import { openingHours, parseWeeklyMoment, WEEKLY_MOMENT_FORM } from '../parts/opening-hours.js'
import { DURATION_FORM, parseDuration } from '../parts/parse-duration.js'
import { parseRate, RATE_FORM } from '../parts/parse-rate.js'
import { parseSize, SIZE_FORM } from '../parts/parse-size.js'
import { PASSWORD_HASH_FORM, parsePasswordHash } from '../parts/password-hash.js'
import { nextChangeMs, type RatePlan, type RateWindow, steadyPlan } from '../parts/rate-plan.js'
import { parseWeeklyWindow, type WeeklyWindow, WINDOW_FORM } from '../parts/weekly-window.js'
import { ADDRESS_FORM, isAddress } from './address.js'

/*
 * The shape of the config file, and the only place where a key is described. The types, `config/schema.json`,
 * `config/example.yaml`, the names of the environment variables and every error message come from here.
 *
 * The `error` of a schema is not a whole message but what would have been right ("a duration such as..."): explain.ts
 * makes the sentence, with what was found, and where.
 */

/** YAML for the example file, of keys whose default does not show what they look like. */
export const examples = z.registry<{ example: string }>()

/** Lists of mappings whose entry stands behind a # in the example file, since any entry would mean something. */
export const commentedOut = z.registry<{ isCommentedOut: true }>()

/** Keys that hold the path of a file whose content is needed: it is read when the config is loaded. */
export const contentFiles = z.registry<{ isRead: true }>()

/** Node's timers cannot wait longer than 2^31 ms, which is 24.8 days. */
const LONGEST_WAIT = '24d'

function duration(shortest: string) {
  const shortestMs = parseDuration(shortest)!
  const longestMs = parseDuration(LONGEST_WAIT)!
  return z.string(DURATION_FORM).transform((text, context) => {
    const ms = parseDuration(text)
    if (ms !== undefined && ms >= shortestMs && ms <= longestMs) return ms
    const right = ms === undefined ? DURATION_FORM : `a duration from ${shortest} to ${LONGEST_WAIT}`
    context.issues.push({ code: 'custom', message: right, input: text })
    return z.NEVER
  })
}

function size(smallest: string, largest: string) {
  return z.string(SIZE_FORM).transform((text, context) => {
    const bytes = parseSize(text)
    if (bytes !== undefined && bytes >= parseSize(smallest)! && bytes <= parseSize(largest)!) return bytes
    const right = bytes === undefined ? SIZE_FORM : `a size from ${smallest} to ${largest}`
    context.issues.push({ code: 'custom', message: right, input: text })
    return z.NEVER
  })
}

function count(smallest: number, largest: number) {
  const right = `a whole number from ${smallest} to ${largest}`
  return z.int(right).min(smallest, right).max(largest, right)
}

const flag = z.boolean('true or false')

function oneOf<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z.enum(words, `one of ${words.join(', ')}`)
}

function text(right: string, pattern: RegExp) {
  return z.string(right).regex(pattern, right)
}

function file() {
  const right = 'the path of a file, relative to the directory of the config file'
  return text(right, /^[^\0]+$/).register(contentFiles, { isRead: true })
}

const address = z.string(ADDRESS_FORM).refine(isAddress, ADDRESS_FORM)

const LISTENER_FORM = `${ADDRESS_FORM}, or a mapping of address, cert and key for TLS`

const secureListener = z.strictObject(
  {
    address: address.describe('Where to listen, in the form of a plain address.'),
    cert: file().describe('PEM file with the certificate, and after it those of its issuers.'),
    key: file().describe('PEM file with the private key, readable for the mirror alone.'),
  },
  LISTENER_FORM,
)

const listener = z.union([address, secureListener], LISTENER_FORM)

function listeners(fewest: number) {
  const right = `${LISTENER_FORM}, or a list of those`
  return z
    .union([address, secureListener, z.array(listener, right).min(fewest, right)], right)
    .transform((one) => (Array.isArray(one) ? one : [one]))
}

const URL_FORM = 'an http or https url, such as https://images.example.com'

const url = z.string(URL_FORM).transform((text, context) => {
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  const complain = (message: string) => context.issues.push({ code: 'custom', message, input: text })
  // Only bundles may be in a directory: see checkAcross.
  if (!parsed || !/^(?:https?|file):$/.test(parsed.protocol)) complain(URL_FORM)
  else if (parsed.protocol === 'file:' && parsed.host !== '')
    complain('a file url without a host, such as file:///media/usb')
  else if (parsed.username || parsed.password) {
    complain(
      'a url without credentials: put the name into username, and the password into the file that passwordFile names',
    )
  } else if (parsed.hash) complain('a url without a #fragment')
  else return parsed
  return z.NEVER
})

const ORIGIN_FORM = 'an origin: scheme, host and port without a path, such as https://files.example.com'

const origin = z.string(ORIGIN_FORM).transform((text, context) => {
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  const isOrigin = parsed && /^https?:$/.test(parsed.protocol) && parsed.href === `${parsed.origin}/`
  if (isOrigin) return parsed.origin
  context.issues.push({ code: 'custom', message: ORIGIN_FORM, input: text })
  return z.NEVER
})

const filter = z.string('a filter, such as "name=~base os=smartos"').transform((text, context) => {
  try {
    return parseFilter(text)
  } catch (error) {
    if (!isMirrorError(error)) throw error
    context.issues.push({ code: 'custom', message: `a filter we understand (${error.message})`, input: text })
    return z.NEVER
  }
})

function filters() {
  return z.array(filter, 'a list of filters, such as ["name=~base", "os=smartos type=zone-dataset"]')
}

const imageSelection = z.string(IMAGE_SELECTION_FORM).transform((text, context) => {
  try {
    return parseImageSelection(text)
  } catch (error) {
    if (!isMirrorError(error)) throw error
    context.issues.push({ code: 'custom', message: `tags we understand (${error.message})`, input: text })
    return z.NEVER
  }
})

const PLATFORM_FORM = 'a platform such as linux/amd64 or linux/arm/v7'

const platform = z.string(PLATFORM_FORM).transform((text, context): Platform => {
  const word = '[a-z0-9][a-z0-9_.-]{0,63}'
  const [, os, architecture, variant] = new RegExp(`^(${word})/(${word})(?:/(${word}))?$`).exec(text) ?? []
  if (os !== undefined && architecture !== undefined) return { os, architecture, variant }
  context.issues.push({ code: 'custom', message: PLATFORM_FORM, input: text })
  return z.NEVER
})

const PINS_FORM = 'a list of uuids and filters, such as ["name=~base os=smartos"]'

/** A uuid says the same as a filter for it. */
const pin = z.string('a uuid, or a filter such as "name=~base os=smartos"').transform((text, context) => {
  const uuid = parseUuid(text)
  try {
    return parseFilter(uuid ? `uuid=${uuid}` : text)
  } catch (error) {
    if (!isMirrorError(error)) throw error
    context.issues.push({
      code: 'custom',
      message: `a uuid, or a filter we understand (${error.message})`,
      input: text,
    })
    return z.NEVER
  }
})

export const OVERRIDDEN_FORM = 'a uuid, or a filter such as "type=docker"'

/** What a key of `conflictOverrides` means; `undefined` if nothing. */
export function parseOverridden(text: string): Filter | undefined {
  const uuid = parseUuid(text)
  try {
    return parseFilter(uuid ? `uuid=${uuid}` : text)
  } catch (error) {
    if (!isMirrorError(error)) throw error
    return undefined
  }
}

const quorum = z.strictObject(
  { quorum: count(2, 64).describe('How many voices must agree on sha1, size and origin.') },
  'a mapping with the key quorum',
)

const POLICY_FORM = `${CONFLICT_WORDS.join(', ')}, or {quorum: 2}`

const conflicts = z.union([z.enum(CONFLICT_WORDS, POLICY_FORM), quorum], POLICY_FORM)

const OVERRIDE_FORM = `${CONFLICT_WORDS.join(', ')}, {quorum: 2}, or the name of an upstream`

const conflictOverrides = z
  .record(
    z.string(),
    z.union([z.string(OVERRIDE_FORM), quorum], OVERRIDE_FORM),
    'a mapping of uuids and filters to policies',
  )
  .transform((entries): ConflictOverride[] =>
    Object.entries(entries).flatMap(([text, value]) => {
      // One that means nothing is complained of by checkAcross; this is not reached then.
      const filter = parseOverridden(text)
      return filter ? [{ text, filter, policy: overridingPolicy(value) }] : []
    }),
  )

function overridingPolicy(value: string | { quorum: number }): ConflictPolicy {
  if (typeof value !== 'string') return value
  return CONFLICT_WORDS.find((word) => word === value) ?? { upstream: value }
}

const want = z.string(WANT_FORM).transform((text, context): Want => {
  const parsed = parseWant(text)
  if (parsed) return parsed
  context.issues.push({ code: 'custom', message: WANT_FORM, input: text })
  return z.NEVER
})

const SITE_FORM = 'a name on one line, of at most 100 characters'

const QUOTA_FORM = `${SIZE_FORM}, of at least 1MiB; or a part of the disk from 1% to 100%, such as 80%`

/** So many bytes, or such a part of the disk. */
export type Quota = { readonly bytes: number } | { readonly share: number }

const quota = z.string(QUOTA_FORM).transform((text, context): Quota => {
  const percent = /^(\d{1,3}(?:\.\d+)?) ?%$/.exec(text)?.[1]
  if (percent !== undefined && Number(percent) >= 1 && Number(percent) <= 100) return { share: Number(percent) / 100 }
  const bytes = parseSize(text)
  if (bytes !== undefined && bytes >= 2 ** 20) return { bytes }
  context.issues.push({ code: 'custom', message: QUOTA_FORM, input: text })
  return z.NEVER
})

const NEVER_FORM = `never, or ${DURATION_FORM}`

const LONGEST_SCRUB_MS = parseDuration('3650d')!

/** `undefined` for never. */
const scrubInterval = z.string(NEVER_FORM).transform((text, context) => {
  if (text === 'never') return undefined
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= 1000 && ms <= LONGEST_SCRUB_MS) return ms
  const right = ms === undefined ? NEVER_FORM : 'never, or a duration from 1s to 3650d'
  context.issues.push({ code: 'custom', message: right, input: text })
  return z.NEVER
})

const STEADY_FORM = 'a rate of at least 8kbit/s with its unit, such as 20MB/s (the units of the key rate)'

const scrubRate = z.string(STEADY_FORM).transform((text, context) => {
  const rate = parseRate(text)
  if (typeof rate === 'number') return rate
  context.issues.push({ code: 'custom', message: STEADY_FORM, input: text })
  return z.NEVER
})

const ZONE_FORM = 'the name of a time zone, such as Europe/Berlin or UTC'

const timezone = z.string(ZONE_FORM).refine((name) => {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }) && true
  } catch {
    return false
  }
}, ZONE_FORM)

const LIMIT_FORM = `closed, ${RATE_FORM}`

const limit = z.string(LIMIT_FORM).transform((text, context) => {
  const found = text === 'closed' ? text : parseRate(text)
  if (found !== undefined) return found
  context.issues.push({ code: 'custom', message: LIMIT_FORM, input: text })
  return z.NEVER
})

const steadyRate = z.string(RATE_FORM).transform((text, context) => {
  const rate = parseRate(text)
  if (rate !== undefined) return steadyPlan(rate)
  context.issues.push({ code: 'custom', message: RATE_FORM, input: text })
  return z.NEVER
})

const rateByWindows = z
  .strictObject(
    {
      timezone: timezone.default('UTC').describe('Whose clock the windows go by; changes to summer time included.'),
      windows: z
        .record(z.string(), limit, 'a mapping of windows to rates')
        .describe(`From ${WINDOW_FORM} to a rate or closed. The first that fits counts.`),
      else: limit.default('unlimited').describe('What holds outside of all windows: a rate, or closed.'),
      closed: oneOf('allow', 'refuse')
        .default('allow')
        .describe(
          'What a client gets who needs the line while it is closed. allow: what it asks for, at the slowest rate named here. refuse: 503, and when to come again. Background work is refused either way, and what is under way is cut and resumed later.',
        ),
    },
    'a mapping of timezone, windows, else and closed',
  )
  .transform((plan): RatePlan => {
    const windows: RateWindow[] = []
    for (const [text, limit] of Object.entries(plan.windows)) {
      const window = parseWeeklyWindow(text)
      // One that is none is complained of by checkAcross, whatever else is wrong; this is not reached then.
      if (window) windows.push({ ...window, limit })
    }
    return { timezone: plan.timezone, windows, otherwise: plan.else, whenClosed: plan.closed }
  })

const RATE_EXAMPLE =
  '{timezone: Europe/Berlin, windows: {"22:00-05:00": 20Mbit/s, "Sat,Sun 00:00-24:00": unlimited}, else: 2Mbit/s}'

/** Unlimited unless said. */
function rate() {
  return z
    .union([steadyRate, rateByWindows], `${RATE_FORM}, or a mapping of timezone, windows, else and closed`)
    .register(examples, { example: RATE_EXAMPLE })
    .prefault('unlimited')
}

const timeouts = z.strictObject(
  {
    connect: duration('10ms')
      .prefault('10s')
      .describe('Until a connection stands, TLS included. Raise it for lines by satellite.'),
    headers: duration('10ms')
      .prefault('60s')
      .describe('From the request to the first line of the answer. Raise it for servers that think long over a list.'),
    stall: duration('10ms')
      .prefault('30s')
      .describe(
        'Between two pieces of a body. It limits silence, not length: a slow download may take days. A server that hangs on an open connection costs this, and not more.',
      ),
  },
  'a mapping of connect, headers and stall',
)

const CHANNEL_FORM = 'a name of lower-case letters, digits, "_" and "-", at most 64, the first a letter'

const channelName = text(CHANNEL_FORM, CHANNEL_NAME)

const channelSchema = z.strictObject(
  {
    name: channelName.describe('What clients ask for, as in ?channel=release.'),
    description: text('a text', /^[^\0]*$/)
      .default('')
      .describe('For people.'),
    default: flag.default(false).describe('true for the channel of those who name none. At most one.'),
  },
  'a mapping of name, description and default',
)

const upstreamSchema = z.strictObject(
  {
    name: text(
      'a name of lower-case letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
      /^[a-z0-9][a-z0-9._-]{0,63}$/,
    )
      .register(examples, { example: 'smartos' })
      .describe(
        'What we call it in logs, metrics and the data directory. Unique. What an upstream said is kept under its name: after renaming, it is heard anew.',
      ),
    type: oneOf('imgapi', 'dsapi', 'docker', 'bundle')
      .default('imgapi')
      .describe(
        'The protocol: imgapi for SmartOS and Triton image servers, dsapi for the old dataset servers, dsapid, smartos-image-server, and a web server with an array of manifests as its index and files under <uuid>/<path>; docker for registries of Docker and OCI images, of which the key images says what is offered; bundle for a bundle as imgapi-mirror export writes it, behind any web server or in a directory of this machine.',
      ),
    url: url
      .register(examples, { example: 'https://images.smartos.org' })
      .describe(
        'imgapi: the address of the server, as for imgadm sources. dsapi: the address of the list, for instance http://datasets.example.com/datasets. docker: the registry, without a path: https://docker.io for Docker Hub. bundle: the directory of a volume, also as file:///media/usb/imgapi-...; its other volumes are looked for beside it. Credentials do not belong here: see username.',
      ),
    channel: text('the name of a channel, or "*" for all of them', /^[^\s/?#&]+$/)
      .register(examples, { example: 'release' })
      .optional()
      .describe(
        'Which channel of the server to mirror (imgapi only). Without it, the one the server takes as default. "*" mirrors all of them. A server may be an upstream several times, with different channels.',
      ),
    voice: text(
      'a name of lower-case letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
      /^[a-z0-9][a-z0-9._-]{0,63}$/,
    )
      .register(examples, { example: 'joyent' })
      .optional()
      .describe(
        'Where conflicts asks for a quorum: whose word it passes on. Upstreams of one voice, such as mirrors of one another, count once. Without it, its own name.',
      ),
    intoChannels: z
      .array(channelName, 'a list of names of channels')
      .register(examples, { example: '["release", "staging"]' })
      .prefault([])
      .describe(
        'On a mirror with channels: which of ours its images go into. Without it, those of channel: release go into our release, those of channel: "*" into the channels they are in there, as far as we have them, and all others into our default channel.',
      ),
    include: filters()
      .register(examples, { example: '["os=smartos", "name=~base"]' })
      .prefault([])
      .describe(
        'Mirror only images that match at least one of these filters; an empty list takes all. A filter is conditions separated by blanks, all of which must hold: = != =~ (contains) !~ >= <= on any field of the manifest, dots for nesting, for instance "name=~base requirements.brand=lx". Change it to mirror a part. Origins of what is included are found all the same.',
      ),
    exclude: filters()
      .register(examples, { example: '["type=docker"]' })
      .prefault([])
      .describe('Leave out images that match any of these filters, whatever include says.'),
    username: text('a user name without colon', /^[^:\0\r\n]+$/)
      .register(examples, { example: 'mirror' })
      .optional()
      .describe(
        'For HTTP Basic authentication; sent to the origin of url only, and of a Docker registry also to where it hands out tokens (see authHosts).',
      ),
    passwordFile: file()
      .register(examples, { example: './smartos.password' })
      .optional()
      .describe('File with the password for username; one line end at its end is not part of it.'),
    ca: file()
      .register(examples, { example: './ca.pem' })
      .optional()
      .describe(
        "PEM file with the authorities that this upstream's certificate is checked against, instead of the public ones.",
      ),
    cert: file()
      .register(examples, { example: './client.pem' })
      .optional()
      .describe('PEM file with our certificate, for servers that ask clients for one. Needs key.'),
    key: file()
      .register(examples, { example: './client.key' })
      .optional()
      .describe('PEM file with the private key of cert.'),
    insecure: flag
      .default(false)
      .describe(
        "true: do not check this upstream's certificate. Whoever sits between can then lie about the catalogue, digests included. Prefer ca.",
      ),
    timeouts: timeouts.prefault({}).describe('How long to wait for this upstream.'),
    fileHosts: z
      .array(origin, 'a list of origins')
      .register(examples, { example: '["https://files.example.com"]' })
      .prefault([])
      .describe(
        "Other origins that this upstream's file urls and redirects may lead to. Without an entry here only the origin of url is ever contacted. Credentials are not sent there.",
      ),
    images: z
      .array(imageSelection, `a list of images: ${IMAGE_SELECTION_FORM}`)
      .register(examples, {
        example: '["busybox:latest", "library/alpine:3.*", "grafana/grafana:~11", "org/app:newest:5"]',
      })
      .prefault([])
      .describe(
        'docker only: which images to offer, as repository:tags. Tags are one tag (latest without any), a pattern with * and ?, versions as in npm (~11, ^1.2, ">=3.18 <4", 24.04 and 1.2.3.4 too), or several of those with blanks between, all of which must hold. A tag with something behind its numbers, as 11.2.0-ubuntu, is left out of versions unless a pattern asks for it: "~11 *-ubuntu". newest:5 behind it takes the 5 newest of them by version, not by date: org/app:newest:5, "org/app:*-alpine:newest:2". Every layer of what is named becomes an image; tags are followed at every refresh. Also what clients of Docker may pull, see pull.',
      ),
    platform: platform
      .prefault('linux/amd64')
      .describe('docker only: of an image that is made for several platforms, which one is offered.'),
    pull: oneOf('images', 'any')
      .default('images')
      .describe(
        "docker only: what Docker's own clients may pull through us. images: the tags that images names, and what they lead to. any: whatever the registry has; then everybody who reaches us has a proxy to it, with our credentials.",
      ),
    recompress: oneOf('none', 'gzip')
      .default('none')
      .describe(
        'docker only: what becomes of images with layers that imgadm cannot unpack (zstd). none: they are not offered, and the status says why. gzip: such layers are packed anew, as files of their own.',
      ),
    authHosts: z
      .array(origin, 'a list of origins')
      .register(examples, { example: '["https://gitlab.example.com"]' })
      .prefault([])
      .describe(
        'docker only: other origins that the registry may send us to for tokens, and that may see our credentials. Its own, and the one of Docker Hub, need not be named.',
      ),
    allowUntrusted: flag
      .default(false)
      .describe(
        'bundle only. true: take a bundle that nobody has signed whose key is among the trustedKeys of bundles. Whoever made it then says what images are.',
      ),
    dockerConfig: file()
      .register(examples, { example: './config.json' })
      .optional()
      .describe(
        'docker only: a config.json as docker login writes it, with credentials for this registry under auths, instead of username and passwordFile. Helpers named in it are not run.',
      ),
    connections: count(1, 64)
      .default(1)
      .describe(
        'How many connections may carry one file at once, if the server gives parts of files. More only help where the line is long: far away, with room to spare.',
      ),
    requests: count(1, 256)
      .default(8)
      .describe('How many requests may be under way to it at once, all files together. Lower it to be gentle.'),
    rate: rate().describe(
      'How fast its line may be used, downloads and catalogues together, besides the rate of all. Same forms.',
    ),
    allowMissingDigest: flag
      .default(false)
      .describe(
        'true: also mirror files of which the upstream declares no digest at all; their size alone is then checked. Needed for some very old dataset servers.',
      ),
  },
  'a mapping with at least name and url',
)

const weeklyWindow = z.string(WINDOW_FORM).transform((text, context): WeeklyWindow => {
  const window = parseWeeklyWindow(text)
  if (window) return window
  context.issues.push({ code: 'custom', message: WINDOW_FORM, input: text })
  return z.NEVER
})

const weeklyMoment = z.string(WEEKLY_MOMENT_FORM).transform((text, context): WeeklyWindow => {
  const moment = parseWeeklyMoment(text)
  if (moment) return moment
  context.issues.push({ code: 'custom', message: WEEKLY_MOMENT_FORM, input: text })
  return z.NEVER
})

/** For whatever begins anew each day. */
const MIDNIGHT = parseWeeklyMoment('00:00')!

const prewarmSchema = z
  .strictObject(
    {
      name: text(
        'a name of lower-case letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
        /^[a-z0-9][a-z0-9._-]{0,63}$/,
      )
        .register(examples, { example: 'nightly' })
        .describe('What it is called in plans, the status and the audit. Unique.'),
      match: filters()
        .register(examples, { example: '["name=~base-64 os=smartos", "tags.role=os"]' })
        .prefault([])
        .describe('Images that match any of these filters are wanted; filters as in include of upstreams.'),
      exclude: filters()
        .register(examples, { example: '["version=~rc"]' })
        .prefault([])
        .describe('But none that match any of these. What a wanted image builds on comes with it all the same.'),
      channels: z
        .array(channelName, 'a list of names of channels')
        .register(examples, { example: '["release"]' })
        .prefault([])
        .describe('On a mirror with channels: only images in one of these. An empty list asks for none.'),
      latest: count(1, 100_000)
        .register(examples, { example: '2' })
        .optional()
        .describe('How many of each name, the newest first. Without it, all that match.'),
      by: oneOf('version', 'date')
        .default('version')
        .describe('What newest means: the highest version, or the last published.'),
      docker: z
        .array(imageSelection, `a list of images: ${IMAGE_SELECTION_FORM}`)
        .register(examples, { example: '["library/alpine:newest:2", "grafana/grafana:~11"]' })
        .prefault([])
        .describe(
          'Images of Docker registries that are wanted too, of the tags that upstreams follow (see images there); the same forms. All their layers come.',
        ),
      timezone: timezone
        .default('UTC')
        .describe('Whose clock windows, budget and deadline go by; changes to summer time included.'),
      windows: z
        .array(weeklyWindow, `a list, each ${WINDOW_FORM}`)
        .register(examples, { example: '["22:00-05:00", "Sat,Sun 00:00-24:00"]' })
        .prefault([])
        .describe(
          'When it may fetch; always, if none is named. What is under way when a window ends is cut, and goes on with the next. While the line is closed (see rate), nothing is fetched in any case.',
        ),
      budget: size('1MiB', '1024TiB')
        .register(examples, { example: '40GiB' })
        .optional()
        .describe(
          'How much it may fetch from one opening of its windows to the next; in a day, if it never closes. Also counted across restarts.',
        ),
      deadline: weeklyMoment
        .register(examples, { example: 'Mon 06:00' })
        .optional()
        .describe(
          'By when all of it is to be here, each week or day. Nothing stops then: "imgapi-mirror plan" says beforehand whether it can be kept, and what is too late goes behind what is not.',
        ),
      priority: z
        .int('a whole number from -1000 to 1000')
        .min(-1000, 'a whole number from -1000 to 1000')
        .max(1000, 'a whole number from -1000 to 1000')
        .default(0)
        .describe('Of several policies those with more go first; among equals, in this order.'),
    },
    'a mapping with at least name, and match or docker',
  )
  .transform(({ budget, deadline, timezone, windows, ...selection }) => {
    const hours = openingHours(timezone, windows)
    const renewal = nextChangeMs(hours, 0) === undefined ? openingHours(timezone, [MIDNIGHT]) : hours
    return {
      ...selection,
      hours,
      budget: budget === undefined ? undefined : { bytes: budget, renewal },
      deadline: deadline && openingHours(timezone, [deadline]),
    }
  })

const TOKEN_HASH_FORM = 'a hash as "imgapi-mirror user make-token" prints it (sha256: and 64 hex digits)'

const userSchema = z.strictObject(
  {
    name: text(
      'a name of letters, digits, ".", "_", "@" and "-", at most 64, the first a letter or digit',
      /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/,
    )
      .register(examples, { example: 'builder' })
      .describe('Who it is, in logs and in the record of what was published. Unique.'),
    passwordFile: file()
      .register(examples, { example: './builder.password' })
      .optional()
      .describe(
        'For HTTP Basic, which is all that imgadm can do: http://builder:...@mirror. File with the password, or with its hash as passwordHash has it; one line end at its end is not part of it. Anyone between can read it unless listen has TLS.',
      ),
    passwordHash: z
      .string(PASSWORD_HASH_FORM)
      .refine((hash) => parsePasswordHash(hash) !== undefined, PASSWORD_HASH_FORM)
      .register(examples, { example: 'scrypt:16384:8:5:...' })
      .optional()
      .describe('Instead of passwordFile: what "imgapi-mirror user hash-password" prints.'),
    tokenFile: file()
      .register(examples, { example: './builder.token' })
      .optional()
      .describe(
        'For "Authorization: Bearer", or instead of a password. File with a token of 24 characters or more, as "imgapi-mirror user make-token" makes it, or with its hash (sha256:...).',
      ),
    tokenHash: z
      .string(TOKEN_HASH_FORM)
      .refine((hash) => parseTokenHash(hash) !== undefined, TOKEN_HASH_FORM)
      .register(examples, { example: 'sha256:...' })
      .optional()
      .describe('Instead of tokenFile: the hash alone.'),
    sshKeys: z
      .array(file(), 'a list of files')
      .register(examples, { example: '[./builder.pub]' })
      .prefault([])
      .describe(
        'For HTTP Signature, as sdc-clients do it. Files of public keys as OpenSSH writes them, one or more each: RSA of 2048 bits or more, ECDSA, Ed25519; no DSA.',
      ),
    readOnly: flag
      .default(false)
      .describe('true: may read, where reading is for users or images are private, but change nothing.'),
  },
  'a mapping of name and at least one of passwordFile, passwordHash, tokenFile, tokenHash and sshKeys',
)

const PUBLIC_URL_FORM = 'an http or https url without ?query, such as https://images.example.com/mirror'

const publicUrl = z.string(PUBLIC_URL_FORM).transform((text, context) => {
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = parsed && !parsed.username && !parsed.password && !parsed.search && !parsed.hash
  if (isPlain && /^https?:$/.test(parsed.protocol)) return parsed
  context.issues.push({ code: 'custom', message: PUBLIC_URL_FORM, input: text })
  return z.NEVER
})

const network = z.string(NETWORK_FORM).refine(isNetwork, NETWORK_FORM)

const REDIRECT_FORM = 'a path between two slashes, such as /held/'

const datasets = z.strictObject(
  {
    list: oneOf('standalone', 'all')
      .default('standalone')
      .describe(
        'Which images the list shows. standalone: zones and zvols that build on no other image, which imgadm of every age can install. all: every active image; imgadm 2 (2013) and later can. By uuid and urn all are answered.',
      ),
    creatorName: text('a name of letters, digits, ".", "_" and "-"', /^[A-Za-z0-9._-]{1,64}$/)
      .default('sdc')
      .describe('What manifests say as creator_name and cloud_name, and urns begin with where an image has none.'),
  },
  'a mapping of list and creatorName',
)

export const settingsSchema = z.strictObject(
  {
    listen: listeners(1)
      .prefault('0.0.0.0:8080')
      .describe(
        'What clients use, read-only: an address, unix:/path, {address, cert, key} for TLS, or a list of those. 0.0.0.0 is every IPv4 interface, [::] IPv6 too.',
      ),
    operator: listeners(0)
      .prefault('127.0.0.1:8081')
      .describe(
        'For operators only: health, status, metrics, and the operator API under /api. Same forms as listen; an empty list turns it off. Who may do what there: operatorAccess.',
      ),
    operatorAccess: z
      .strictObject(
        {
          tokenFile: file()
            .register(examples, { example: './operator.token' })
            .optional()
            .describe(
              'File with the token that operators elsewhere prove themselves with (Authorization: Bearer), or with its hash; "imgapi-mirror user make-token" makes one. It should not travel without TLS.',
            ),
          clientCa: file()
            .register(examples, { example: './operators-ca.pem' })
            .optional()
            .describe(
              'PEM file with the authorities whose TLS client certificates let operators in, where the operator address has cert and key.',
            ),
          local: oneOf('open', 'restricted')
            .default('open')
            .describe(
              'open: whoever reaches the operator address by loopback or a unix socket may do everything. restricted: they too need the token or a certificate.',
            ),
          probes: oneOf('open', 'restricted')
            .default('open')
            .describe(
              'open: health, status and metrics are for whoever reaches the address. restricted: for operators.',
            ),
        },
        'a mapping of tokenFile, clientCa, local and probes',
      )
      .prefault({})
      .describe('Who may use the operator API, and change anything. Without it, only whoever is on this machine.'),
    mode: oneOf('public', 'private')
      .default('public')
      .describe(
        'What "public": false in a manifest means. public: nothing; every image is for everybody who may read, and images published here must be public. private: images that are not public are seen by users alone; to others they do not exist.',
      ),
    read: oneOf('open', 'users')
      .default('open')
      .describe('Who may read. open: everybody. users: only those of publish.users, whatever they ask for.'),
    publish: z
      .strictObject(
        {
          users: z
            .array(userSchema, 'a list of users')
            .register(commentedOut, { isCommentedOut: true })
            .prefault([])
            .describe(
              'Who may publish. Nobody without an entry here. Their files are read again at POST /authkeys/reload.',
            ),
          sources: z
            .array(origin, 'a list of origins')
            .register(examples, { example: '["https://images.example.com"]' })
            .prefault([])
            .describe(
              'Origins that whoever publishes may have this mirror fetch images and files from (import-remote, import and file with source, from-url). The origins of upstreams are always allowed. Nothing is fetched while offline.',
            ),
          privateAddresses: flag
            .default(false)
            .describe(
              'true: the names in sources may lead to private addresses. Otherwise they lead nowhere then, so that nobody who controls a name gets at machines beside this one. A source that is written as an address may be private in any case.',
            ),
          ca: file()
            .register(examples, { example: './sources-ca.pem' })
            .optional()
            .describe(
              'PEM file with the authorities that the certificates of sources are checked against, instead of the public ones.',
            ),
        },
        'a mapping of users, sources, privateAddresses and ca',
      )
      .prefault({})
      .describe('Images of our own making, and who may make them.'),
    publicUrl: publicUrl
      .register(examples, { example: 'https://images.example.com' })
      .optional()
      .describe(
        'What clients reach us by, for urls in answers: the files of DSAPI manifests. Without it, what a request names as Host. Needed behind a proxy that changes Host or puts a path before ours.',
      ),
    trustedProxies: z
      .array(network, `a list, each ${NETWORK_FORM}`)
      .register(examples, { example: '["127.0.0.1", "10.0.0.0/8"]' })
      .prefault([])
      .describe(
        'Proxies before us whose X-Forwarded-Host, X-Forwarded-Proto and X-Forwarded-For are believed: addresses, networks, or unix for whoever connects to a socket. From anybody else they are ignored.',
      ),
    accelRedirect: text(REDIRECT_FORM, /^\/(?:[A-Za-z0-9._~-]+\/)+$/)
      .register(examples, { example: '/held/' })
      .optional()
      .describe(
        'Lets nginx before us send image files that are held, which costs a fraction of the time: the internal location where it has blobs/ of our data directory. Proxies of trustedProxies that say "X-Sendfile-Type: X-Accel-Redirect" are then told which file to send, instead of its bytes; deploy/nginx has the other half. nginx does not compare what it sends with its hashes, the scrub alone does, so verifyOnRead must not be always.',
      ),
    datasets: datasets.prefault({}).describe('What DSAPI clients get under /datasets.'),
    data: text('the path of a directory, relative to the directory of the config file', /^[^\0]+$/)
      .default('./data')
      .describe('Directory for everything we keep. One process owns it. Give it the disk that holds the images.'),
    quota: quota
      .register(examples, { example: '500GiB' })
      .optional()
      .describe(
        'How much room image files may take: a size, or a part of the disk that holds data, such as 80%. When more is needed, what was used longest ago leaves, but no origin before all that builds on it. What finds no room is still served, verified, but not kept. Unfinished downloads count too; manifests, claims and what is in quarantine come on top. Without it, the disk is the limit.',
      ),
    pins: z
      .array(pin, PINS_FORM)
      .register(examples, { example: '["name=base-64-lts", "fd2cc906-8938-11e3-beab-4359c665ac99"]' })
      .prefault([])
      .describe(
        'Images that never leave to make room, and neither do their origins: uuids, and filters as in include. A pin fetches nothing; it keeps what has come.',
      ),
    prewarm: z
      .array(prewarmSchema, 'a list of policies')
      .register(commentedOut, { isCommentedOut: true })
      .prefault([])
      .describe(
        'Images to fetch before anyone asks, at night or whenever the line is idle. Wanted images are not pinned, but leave after all others. "imgapi-mirror plan" says what would come, and by when.',
      ),
    scrub: z
      .strictObject(
        {
          every: scrubInterval
            .prefault('30d')
            .describe(
              'Within which time every image file is read again and compared with what was measured when it came. never turns it off.',
            ),
          rate: scrubRate
            .prefault('20MB/s')
            .describe('The fastest it may read. Too low for all files within every, the status says so.'),
        },
        'a mapping of every and rate',
      )
      .prefault({})
      .describe(
        'Disks lose bits without saying so. In the background everything is read again: image files evenly over the time, manifests, icons, claims and the index daily. What is damaged goes to quarantine and is fetched again, only the damaged MiB where an upstream allows it.',
      ),
    verifyOnRead: oneOf('always', 'sampled', 'never')
      .default('sampled')
      .describe(
        'Whether what is held is compared with its hashes, MiB by MiB, before it leaves. sampled: the first read of each MiB after a start and then weekly, and one in 16 of all others. always: every read, for disks you do not trust; never: none, the scrub alone looks. A bad MiB cuts the connection before any of it is sent.',
      ),
    offline: flag
      .default(false)
      .describe(
        'true: not one outbound connection. Only images are listed that are held whole, with all their origins. For sites without a network, or to see what would be left.',
      ),
    refresh: duration('100ms')
      .prefault('10m')
      .describe(
        'How often each catalogue is asked again, with jitter. Shorter sees new images sooner and asks upstreams more.',
      ),
    holdback: size('1B', '1GiB')
      .prefault('64KiB')
      .describe(
        'The tail of a file that is kept back until the whole file is verified, so that no client can take bad bytes for good ones. More than what fits into the buffers on the way changes nothing.',
      ),
    withdrawn: oneOf('list', 'hide')
      .default('list')
      .describe(
        'What becomes of images that are held here and that no upstream lists any more: list them on, or hide them from lists. By uuid they are served in both cases.',
      ),
    conflicts: conflicts
      .default('prefer-order')
      .describe(
        'What becomes of an image when upstreams disagree about its sha1, size or origin. prefer-order: the first upstream in the configuration is believed. first-seen: what was heard first stands, whatever is claimed later, also after a restart. withhold: nobody gets it as long as any two disagree. {quorum: 2}: nobody gets it unless so many agree, also when only one tells of it (see voice). What is withheld is in no list and answered with 404, and so is what builds on it; it is not let go of. What is held is never replaced by another one of that uuid, and images published here are beyond dispute.',
      ),
    conflictOverrides: conflictOverrides
      .register(examples, {
        example: '{fd2cc906-8938-11e3-beab-4359c665ac99: smartos, type=docker: prefer-order, name=~base: {quorum: 2}}',
      })
      .prefault({})
      .describe(
        'Other policies for some images: from a uuid, or a filter as in include, to a policy as in conflicts, or to the name of the one upstream that is believed. A uuid counts more than filters, of which the first that fits counts; they look at what is held, else at what the first upstream in order says.',
      ),
    firstAnswerWait: duration('0s')
      .prefault('10s')
      .describe(
        'How long a list waits for the first upstream to answer when nothing is known yet. Shorter answers sooner, with an empty list.',
      ),
    missTtl: duration('0s')
      .prefault('60s')
      .describe(
        'How long a "no" of all upstreams to a uuid is remembered. Shorter finds fresh images sooner, longer spares upstreams.',
      ),
    maxAncestry: count(1, 1000)
      .default(128)
      .describe(
        'How many images a chain of origins may have; longer ones are refused, as a ring is. Docker images have up to 127 layers. Raise it if you really build that deep.',
      ),
    rate: rate().describe(
      'How fast all upstreams together may send to us: unlimited, a rate such as 20Mbit/s or 5MB/s, or rates by windows of the week, in each of which the line may also be closed. Windows begin on the days named (all, if none are) and may run across midnight; the first that fits counts. While closed, background work waits; what clients get says closed: allow (the default: at the slowest rate named) or refuse (503 with Retry-After).',
    ),
    channels: z
      .array(channelSchema, 'a list of channels')
      .register(examples, {
        example:
          '[{name: release, description: for everyone, default: true}, {name: staging, description: to be tried}]',
      })
      .prefault([])
      .describe(
        'Channels that images are published through: clients see those of one channel, with ?channel=NAME or the default one, or of all with ?channel=*. Each has a name and a description, and one of them may be the default; without a default, clients must name one. Without any channels, nobody is asked for one. What upstreams fill them: channel and intoChannels.',
      ),
    bundles: z
      .strictObject(
        {
          site: text(SITE_FORM, /^(?=\S)[^\p{Control}\p{Line_Separator}\p{Paragraph_Separator}]{1,100}(?<=\S)$/u)
            .register(examples, { example: 'plant-7' })
            .optional()
            .describe("What this mirror is called in inventories and bundles. Without it, the machine's name."),
          trustedKeys: z
            .array(file(), 'a list of files')
            .register(examples, { example: '[./site-a.pub]' })
            .prefault([])
            .describe(
              'Public keys of mirrors whose bundles and inventories are taken, as they stand in keys/mirror.pub of their data directory; keys of the program minisign are such, too. The own one is always trusted.',
            ),
          wanted: z
            .array(want, `a list, each ${WANT_FORM}`)
            .register(examples, {
              example: '["newest 2 of name=~base-64", "fd2cc906-8938-11e3-beab-4359c665ac99"]',
            })
            .prefault([])
            .describe(
              'What this site wants to have, told in its inventory: uuids, filters as in include, and of what a filter matches the newest so many per name.',
            ),
          diode: flag
            .prefault(false)
            .describe(
              'true: nothing can be carried back from here. What is lacking is then told to people, as numbers of volumes and bundles to bring again, and not as a request.',
            ),
        },
        'a mapping of site, trustedKeys, wanted and diode',
      )
      .prefault({})
      .describe('Images that are carried across an air gap, as bundles.'),
    upstreams: z
      .array(upstreamSchema, 'a list of upstreams')
      .prefault([])
      .describe(
        'The servers we pull from. Order is precedence: of an image that several have, the first one is believed.',
      ),
    log: z
      .strictObject(
        {
          level: oneOf('debug', 'info', 'warn', 'error')
            .default('info')
            .describe('The least serious lines to write. debug adds departures of clients and every request upstream.'),
          format: oneOf('auto', 'json', 'pretty')
            .default('auto')
            .describe(
              'json: one object per line, for machines. pretty: for eyes. auto: pretty on a terminal, json elsewhere.',
            ),
        },
        'a mapping of level and format',
      )
      .prefault({})
      .describe('What is written to standard output.'),
    limits: z
      .strictObject(
        {
          list: size('1KiB', '4GiB')
            .prefault('256MiB')
            .describe("How large one upstream's catalogue may be, unpacked. Guards memory against a server gone mad."),
          manifests: size('1MiB', '64GiB')
            .prefault('256MiB')
            .describe(
              'How much room manifests, configs and tags of Docker registries may take that clients have asked for and that no tag named in images leads to: then what was asked for longest ago leaves. Each counts as 4 KiB at least. They take about as much memory at most.',
            ),
          layer: size('1MiB', '1TiB')
            .prefault('20GiB')
            .describe(
              'How large a layer of a Docker image may be, unpacked, for recompress: gzip. One that unpacks to more than 64 MiB and a thousand times its own size is refused in any case.',
            ),
        },
        'a mapping of list, manifests and layer',
      )
      .prefault({})
      .describe('Bounds on what upstreams may send, and what is kept of it beside image files.'),
  },
  'a mapping of keys',
)

/** The file's content with defaults filled in and texts parsed: durations in ms, sizes in bytes; paths as they stand. */
export type Settings = z.output<typeof settingsSchema>
