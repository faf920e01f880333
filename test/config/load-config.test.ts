import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { type Config, describeConfig, exampleYaml, jsonSchema, loadConfig } from '../../src/config.js'
import { makeToken } from '../../src/parts/access-token.js'
import { makeSigner } from '../bundle/signers.js'

let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'config-'))
  await writeFile(join(directory, 'password'), 'geheim\n')
  await writeFile(join(directory, 'cert.pem'), 'CERTIFICATE\n')
  await writeFile(join(directory, 'key.pem'), 'PRIVATE KEY\n')
  await writeFile(join(directory, 'empty'), '\n')
})

afterAll(() => rm(directory, { recursive: true }))

function load(text: string, environment: Record<string, string> = {}): Promise<Config> {
  return loadConfig({
    path: join(directory, 'config.yaml'),
    text,
    environment,
    readFile: (path) => readFile(path, 'utf8'),
  })
}

/** The lines of complaint, without the directory in front. */
async function complaintsOf(text: string, environment?: Record<string, string>): Promise<string[]> {
  const error = await load(text, environment).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toMatchObject({ name: 'MirrorError', code: 'CONFIG_INVALID' })
  const [, ...lines] = (error as Error).message.replaceAll(`${directory}/`, '').split('\n')
  return lines
}

const WITH_UPSTREAM = `
upstreams:
  - name: smartos
    url: https://images.smartos.org
`

describe('a config', () => {
  it('is whole without a single key', async () => {
    expect(await load('')).toMatchObject({
      listen: ['0.0.0.0:8080'],
      operator: ['127.0.0.1:8081'],
      dataDirectory: join(directory, 'data'),
      isOffline: false,
      refreshMs: 600_000,
      holdbackBytes: 65_536,
      withdrawn: 'list',
      firstAnswerWaitMs: 10_000,
      missTtlMs: 60_000,
      maxAncestry: 128,
      upstreams: [],
      log: { level: 'info', format: 'auto' },
      limits: { listBytes: 256 * 1024 * 1024, manifestBytes: 256 * 1024 * 1024 },
    })
  })

  it('says what is kept, and how it is looked after', async () => {
    const uuid = 'fd2cc906-8938-11e3-beab-4359c665ac99'
    const config = await load(`
quota: 80%
pins: ["name=~base os=smartos", ${uuid}]
scrub: {every: 90d, rate: 5MB/s}
verifyOnRead: always
`)
    expect(config).toMatchObject({
      quota: { share: 0.8 },
      scrub: { everyMs: 90 * 86_400_000, bytesPerSecond: 5_000_000 },
      verifyOnRead: 'always',
    })
    expect(config.pins.map(({ text }) => text)).toEqual(['name=~base os=smartos', `uuid=${uuid}`])
    expect((await load('quota: 500GiB')).quota).toEqual({ bytes: 500 * 2 ** 30 })
    expect(await load('scrub: {every: never}')).toMatchObject({ quota: undefined, pins: [], scrub: undefined })
    expect(await load('')).toMatchObject({
      scrub: { everyMs: 30 * 86_400_000, bytesPerSecond: 20_000_000 },
      verifyOnRead: 'sampled',
    })
  })

  it('fills in what an upstream leaves out', async () => {
    const [upstream] = (await load(WITH_UPSTREAM)).upstreams
    expect(upstream).toEqual({
      allowUntrusted: false,
      name: 'smartos',
      type: 'imgapi',
      intoChannels: [],
      url: new URL('https://images.smartos.org'),
      channel: undefined,
      include: [],
      exclude: [],
      username: undefined,
      password: undefined,
      ca: undefined,
      cert: undefined,
      key: undefined,
      insecure: false,
      timeouts: { connectMs: 10_000, headersMs: 60_000, stallMs: 30_000 },
      fileHosts: [],
      connections: 1,
      requests: 8,
      rate: { timezone: 'UTC', windows: [], otherwise: 'unlimited', whenClosed: 'allow' },
      allowMissingDigest: false,
      images: [],
      platform: { os: 'linux', architecture: 'amd64', variant: undefined },
      pull: 'images',
      recompress: 'none',
      authHosts: [],
      dockerConfig: undefined,
    })
  })

  it('takes Docker registries, with the images they are to offer', async () => {
    await writeFile(join(directory, 'c.json'), 'content of c.json')
    const { upstreams } = await load(`
upstreams:
  - {name: hub, type: docker, url: "https://docker.io", images: ["busybox", "grafana/grafana:~11"], dockerConfig: c.json}
  - {name: own, type: docker, url: "http://10.0.0.1:5000", pull: any, platform: linux/arm/v7, authHosts: ["http://10.0.0.1:5001"]}`)
    const [hub, own] = upstreams
    expect(hub!.images.map(({ repository, text }) => [repository, text])).toEqual([
      ['busybox', 'busybox'],
      ['grafana/grafana', 'grafana/grafana:~11'],
    ])
    expect(hub!.dockerConfig!.reveal()).toBe('content of c.json')
    expect(own).toMatchObject({
      pull: 'any',
      platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
      authHosts: ['http://10.0.0.1:5001'],
    })
  })

  it('takes keys of others, and what this site wants', async () => {
    const { publicKey } = makeSigner()
    await writeFile(join(directory, 'site-a.pub'), publicKey)
    const wanted = '["newest 2 of name=~base", "fd2cc906-8938-11e3-beab-4359c665ac99"]'
    const { bundles } = await load(`bundles: {site: plant 7, trustedKeys: [site-a.pub], wanted: ${wanted}}`)
    expect(bundles).toEqual({
      site: 'plant 7',
      isDiode: false,
      trustedKeys: [publicKey],
      wanted: [
        { kind: 'select', filters: ['name=~base'], latest: 2 },
        { kind: 'image', uuid: 'fd2cc906-8938-11e3-beab-4359c665ac99' },
      ],
    })
  })

  it('takes bundles, in a directory or behind a web server', async () => {
    const { upstreams } = await load(
      'upstreams: [{name: a, type: bundle, url: "file:///media/usb/imgapi-1", allowUntrusted: true}, {name: b, type: bundle, url: "http://b/imgapi-1/"}]',
    )
    expect(upstreams.map(({ allowUntrusted, url }) => [url.href, allowUntrusted])).toEqual([
      ['file:///media/usb/imgapi-1', true],
      ['http://b/imgapi-1/', false],
    ])
    const wrong =
      'upstreams: [{name: a, url: "file:///a", allowUntrusted: true}, {name: b, type: bundle, url: "file://host/a"}]'
    expect(await complaintsOf(wrong)).toEqual([
      'config.yaml:1:28: upstreams[0].url: found "file:///a"; right is an http or https url, or "type: bundle"',
      'config.yaml:1:41: upstreams[0].allowUntrusted: found a key for type bundle only; right is none, or "type: bundle"',
      'config.yaml:1:93: upstreams[1].url: found "file://host/a"; right is a file url without a host, such as file:///media/usb',
    ])
  })

  it('takes channels, and upstreams that fill them', async () => {
    const { channels, upstreams } = await load(`
channels: [{name: dev, default: true}, {name: release, description: for all}]
upstreams:
  - {name: a, url: "http://a", channel: release}
  - {name: b, url: "http://b?channel=*"}
  - {name: c, url: "http://c?channel=theirs", intoChannels: [dev, release]}
  - {name: d, url: "http://d"}`)
    expect(channels).toEqual([
      { name: 'dev', description: '', isDefault: true },
      { name: 'release', description: 'for all', isDefault: false },
    ])
    expect(upstreams.map(({ channel, intoChannels }) => ({ channel, intoChannels }))).toEqual([
      { channel: 'release', intoChannels: [] },
      { channel: '*', intoChannels: [] },
      { channel: 'theirs', intoChannels: ['dev', 'release'] },
      { channel: undefined, intoChannels: [] },
    ])
  })

  it('takes one address, a unix socket, TLS, and a list of all of them', async () => {
    expect((await load('listen: unix:run/mirror.sock')).listen).toEqual([`unix:${directory}/run/mirror.sock`])
    const secure = '{address: "[::]:443", cert: cert.pem, key: key.pem}'
    const tls = { address: '[::]:443', cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') }
    expect((await load(`listen: ${secure}`)).listen).toEqual([tls])
    expect((await load(`listen: ["127.0.0.1:0", ${secure}]\noperator: []`)).listen).toEqual(['127.0.0.1:0', tls])
  })

  it('takes a rate, of all and of one upstream, or rates by windows of the week', async () => {
    const config = await load(`rate: 20Mbit/s
upstreams:
  - name: smartos
    url: https://images.smartos.org
    rate:
      timezone: Europe/Berlin
      windows:
        22:00-05:00: 20Mbit/s
        Sat,Sun 00:00-24:00: unlimited
        Mon-Fri 08:00-18:00: closed
      else: 2Mbit/s
      closed: refuse
  - name: other
    url: https://images.example.com
    rate: {windows: {22:00-05:00: 1MB/s}, else: closed}`)
    expect(config.rate).toEqual({ timezone: 'UTC', windows: [], otherwise: 2_500_000, whenClosed: 'allow' })
    expect(config.upstreams.map(({ rate }) => rate)).toEqual([
      {
        timezone: 'Europe/Berlin',
        windows: [
          { days: [0, 1, 2, 3, 4, 5, 6], startMinute: 1320, endMinute: 300, limit: 2_500_000 },
          { days: [0, 6], startMinute: 0, endMinute: 1440, limit: 'unlimited' },
          { days: [1, 2, 3, 4, 5], startMinute: 480, endMinute: 1080, limit: 'closed' },
        ],
        otherwise: 250_000,
        whenClosed: 'refuse',
      },
      expect.objectContaining({ timezone: 'UTC', otherwise: 'closed', whenClosed: 'allow' }),
    ])
    expect((await load('', { IMGAPI_MIRROR_RATE: '5MB/s' })).rate.otherwise).toBe(5_000_000)
  })

  it('finds files beside itself and reads them', async () => {
    const [upstream] = (
      await load(`${WITH_UPSTREAM}
    username: mirror
    passwordFile: ./password
    ca: cert.pem
    cert: cert.pem
    key: ${directory}/key.pem`)
    ).upstreams
    expect(upstream?.password?.reveal()).toBe('geheim')
    expect(upstream?.ca).toBe('CERTIFICATE\n')
    expect(upstream?.key?.reveal()).toBe('PRIVATE KEY\n')
  })

  it('never prints a secret', async () => {
    const config = await load(`${WITH_UPSTREAM}
    username: mirror
    passwordFile: password
    cert: cert.pem
    key: key.pem`)
    for (const print of [JSON.stringify(config), inspect(config, { depth: 9 })]) {
      expect(print).toContain('(secret)')
      expect(print).not.toMatch(/geheim|PRIVATE KEY/)
    }
    expect(JSON.stringify(describeConfig(config))).not.toMatch(/geheim|PRIVATE KEY/)
  })

  it('is described as a file that comes to the same', async () => {
    const config = await load(
      `
quota: 80%
pins: [fd2cc906-8938-11e3-beab-4359c665ac99, os=smartos]
scrub: {rate: 5MB/s}
rate: {timezone: Europe/Berlin, windows: {"22:00-05:00": 20Mbit/s}}
upstreams:
  - {name: smartos, url: "https://images.smartos.org", include: [name=~base], timeouts: {stall: 5s}}
  - {name: ours, url: "https://images.example.com/?channel=dev", username: "007", passwordFile: password}
`,
      { IMGAPI_MIRROR_REFRESH: '90s', IMGAPI_MIRROR_UPSTREAMS_OURS_RATE: '5MB/s' },
    )
    const text = stringify(describeConfig(config))
    expect(parse(text)).toMatchObject({
      refresh: '90s',
      holdback: '64KiB',
      scrub: { every: '30d', rate: '5MB/s' },
      rate: { timezone: 'Europe/Berlin', windows: { '22:00-05:00': '20Mbit/s' }, else: 'unlimited' },
      upstreams: [{ timeouts: { connect: '10s', stall: '5s' } }, { rate: '5MB/s', passwordFile: 'password' }],
    })
    expect(JSON.stringify(await load(text))).toBe(JSON.stringify(config))
  })

  it('cannot be changed', async () => {
    const config = await load(WITH_UPSTREAM)
    expect(Object.isFrozen(config) && Object.isFrozen(config.upstreams[0]?.timeouts)).toBe(true)
  })
})

describe('a wrong config is told', () => {
  it.each([
    ['a key nobody knows', 'refesh: 10m', 'config.yaml:1:1: refesh: found a key we do not know; did you mean refresh?'],
    [
      'a key nobody knows and nobody can guess',
      'limits: {frobnicate: 1}',
      'config.yaml:1:10: limits.frobnicate: found a key we do not know; right is one of list, manifests, layer',
    ],
    [
      'a key nobody knows in an entry of a list',
      `${WITH_UPSTREAM}    timeout: {}`,
      'config.yaml:5:5: upstreams[0].timeout: found a key we do not know; did you mean timeouts?',
    ],
    [
      'a duration without its unit',
      '# one\nrefresh: 10',
      'config.yaml:2:10: refresh: found 10; right is a duration with its unit, such as 500ms, 30s, 10m, 1h30m or 2d (units: ms, s, m, h, d)',
    ],
    [
      'a duration out of reach',
      'refresh: 30d',
      'config.yaml:1:10: refresh: found "30d"; right is a duration from 100ms to 24d',
    ],
    ['a size that is none', 'holdback: 64 KiBi', /1:11: holdback: found "64 KiBi"; right is a size with its unit/],
    ['a holdback of nothing', 'holdback: 0B', /right is a size from 1B to 1GiB/],
    ['a word that is none of the choices', 'withdrawn: delete', /found "delete"; right is one of list, hide/],
    ['a wrong kind of value', 'upstreams: smartos', /1:12: upstreams: found "smartos"; right is a list of upstreams/],
    [
      'a missing key',
      'upstreams:\n  - name: a',
      /2:5: upstreams\[0\]\.url: found nothing; right is an http or https url/,
    ],
    ['an address that is none', 'listen: 8080', /1:9: listen: found 8080; right is an address such as 0\.0\.0\.0:8080/],
    ['a port that is none', 'listen: "0.0.0.0:70000"', /found "0\.0\.0\.0:70000"; right is an address/],
    ['no address at all', 'listen: []', /listen: found \[\]; right is an address/],
    [
      'a wrong key in a listener',
      'listen: {address: "a:1", cert: cert.pem, key: key.pem, kye: 1}',
      /listen\.kye: .*did you mean key/,
    ],
    [
      'a file that is not there, in a list of listeners',
      'listen: ["a:1", {address: "a:2", cert: cert.pem, key: gone.pem}]',
      /listen\[1\]\.key: found "gone\.pem"; right is a file we can read \(ENOENT/,
    ],
    [
      'an empty file',
      `${WITH_UPSTREAM}    ca: empty`,
      /5:9: upstreams\[0\]\.ca: found "empty"; right is a file that is not empty/,
    ],
    [
      'a policy that is none',
      'conflicts: newest',
      /1:12: conflicts: found "newest"; right is prefer-order, first-seen, withhold, or \{quorum: 2\}/,
    ],
    [
      'a quorum of one, which is none',
      'conflicts: {quorum: 1}',
      /conflicts\.quorum: found 1; right is a whole number from 2/,
    ],
    [
      'an exception for what is neither uuid nor filter',
      'conflictOverrides: {smartos: withhold}',
      /conflictOverrides\.smartos: found "smartos"; right is a uuid, or a filter/,
    ],
    [
      'an exception that believes an upstream there is not',
      'conflictOverrides: {type=docker: joyent}',
      /conflictOverrides\.type=docker: found "joyent"; right is one of prefer-order, first-seen, withhold/,
    ],
    ['a rate without its unit', 'rate: 20', /1:7: rate: found 20; right is unlimited, or a rate/],
    [
      'a rate with a unit nobody knows',
      'rate: 20Mbps',
      /rate: found "20Mbps"; right is unlimited, or a rate of at least/,
    ],
    [
      'a rate in a window that is none',
      'rate: {windows: {22:00-05:00: fast}}',
      /1:31: rate\.windows\.22:00-05:00: found "fast"; right is closed, unlimited, or a rate/,
    ],
    [
      'a window that is none',
      'rate:\n  windows:\n    2200-0500: closed',
      /3:5: rate\.windows\.2200-0500: .*right is a window such as 22:00-05:00/,
    ],
    ['rates without windows', 'rate: {else: closed}', /rate\.windows: found nothing; right is a mapping of windows/],
    [
      'a time zone nobody knows',
      'rate: {timezone: Mars/Olympus, windows: {}}',
      /found "Mars\/Olympus"; right is the name of a time zone/,
    ],
    ['a wrong key in a rate', 'rate: {windows: {}, els: closed}', /rate\.els: .*did you mean else/],
    [
      'a url of another kind',
      'upstreams: [{name: a, url: "ftp://a"}]',
      /found "ftp:\/\/a"; right is an http or https url/,
    ],
    [
      'a bad name',
      'upstreams: [{name: ../a, url: "http://a"}]',
      /upstreams\[0\]\.name: .* right is a name of lower-case/,
    ],
    [
      'a key for Docker registries where there is none',
      'upstreams: [{name: a, url: "http://a", images: [busybox]}]',
      /upstreams\[0\]\.images: found a key for type docker only; right is none, or "type: docker"$/,
    ],
    [
      'a Docker registry of which nothing is wanted',
      'upstreams: [{name: a, url: "http://a", type: docker}]',
      /right is a list under images, or "pull: any"$/,
    ],
    [
      'a Docker registry with a path',
      'upstreams: [{name: a, url: "https://a/v2", type: docker, pull: any}]',
      /right is a registry without a path/,
    ],
    [
      'a Docker registry with two kinds of credentials',
      'upstreams: [{name: a, url: "https://a", type: docker, pull: any, username: u, passwordFile: password, dockerConfig: cert.pem}]',
      /found it beside username; right is one of them$/,
    ],
    [
      'tags that are none',
      'upstreams: [{name: a, url: "https://a", type: docker, images: ["app:~one"]}]',
      /"~one" is neither a tag, nor a pattern, nor a comparison/,
    ],
    [
      'a platform that is none',
      'upstreams: [{name: a, url: "https://a", type: docker, images: ["app"], platform: amd64}]',
      /found "amd64"; right is a platform such as linux\/amd64/,
    ],
    [
      'a channel of a dsapi server',
      'upstreams: [{name: a, url: "http://a", type: dsapi, channel: dev}]',
      /1:53: .*no channels/,
    ],
    [
      'two channels',
      'upstreams: [{name: a, url: "http://a?channel=x", channel: dev}]',
      /found "dev", but url says channel=x/,
    ],
    [
      'a channel with a name that is none',
      'channels: [{name: Release}]',
      /channels\[0\]\.name: found "Release"; right is a name of lower-case/,
    ],
    [
      'two channels of one name',
      'channels: [{name: a}, {name: a}]',
      /channels\[1\]\.name: found "a", as in channels\[0\]/,
    ],
    [
      'two default channels',
      'channels: [{name: a, default: true}, {name: b, default: true}]',
      /channels\[1\]\.default: found a second default, besides channels\[0\]/,
    ],
    [
      'a channel to fill that there is not',
      'channels: [{name: a}]\nupstreams: [{name: u, url: "http://u", intoChannels: [b]}]',
      /upstreams\[0\]\.intoChannels\[0\]: found "b"; right is one of a/,
    ],
    [
      'a channel to fill where there are none',
      'upstreams: [{name: u, url: "http://u", intoChannels: [b]}]',
      /found "b"; right is none, as there are no channels/,
    ],
    [
      'an upstream that fills nothing, as no channel is the default',
      'channels: [{name: a}]\nupstreams: [{name: u, url: "http://u"}]',
      /upstreams\[0\]: goes nowhere/,
    ],
    [
      'a channel of an upstream that is none of ours',
      'channels: [{name: a, default: true}]\nupstreams: [{name: u, url: "http://u?channel=b"}]',
      /upstreams\[0\]\.url: found "b", which is no channel of ours/,
    ],
    [
      'a user without password',
      'upstreams: [{name: a, url: "http://a", username: b}]',
      /username without passwordFile/,
    ],
    ['a key without certificate', 'upstreams: [{name: a, url: "http://a", key: key.pem}]', /key without cert/],
    [
      'a file host with a path',
      'upstreams: [{name: a, url: "http://a", fileHosts: ["http://b/c"]}]',
      /right is an origin/,
    ],
    [
      'a filter that means nothing',
      'upstreams: [{name: a, url: "http://a", include: ["name"]}]',
      /include\[0\]: found "name"; right is a filter/,
    ],
    [
      'nginx sending what is to be compared with its hashes first',
      'accelRedirect: /held/\nverifyOnRead: always\ntrustedProxies: ["127.0.0.1"]',
      /1:1: accelRedirect: found it beside verifyOnRead: always; right is one of them/,
    ],
    [
      'files handed over to nobody',
      'accelRedirect: /held/',
      /accelRedirect: found no trustedProxies; right is to name nginx there/,
    ],
    [
      'a place of files that nginx could not know',
      'accelRedirect: held\ntrustedProxies: ["127.0.0.1"]',
      /found "held"; right is a path between two slashes/,
    ],
    ['a key that stands twice', 'offline: true\noffline: false', /2:1: .*unique/],
    ['no YAML at all', 'listen: [', /config\.yaml:1:\d+: /],
    [
      'an alias that unfolds without end',
      `a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [${'*a,'.repeat(20)}]\nc: [${'*b,'.repeat(20)}]`,
      /alias/i,
    ],
    ['a list where a mapping belongs', '- listen: 1', /1:1: found \[\{"listen":1\}\]; right is a mapping of keys/],
  ])('%s', async (_what, text, complaint) => {
    const complaints = await complaintsOf(text)
    expect(complaints).toHaveLength(1)
    if (typeof complaint === 'string') expect(complaints[0]).toBe(complaint)
    else expect(complaints[0]).toMatch(complaint)
  })

  it('of two upstreams with one name, and of all other faults in the order of the file', async () => {
    const complaints = await complaintsOf(`
refresh: soon
upstreams:
  - name: a
    url: http://a
  - name: a
    url: ftp://a
    passwordFile: gone
    colour: red
log:
  level: loud
`)
    expect(complaints.map((line) => line.split(';')[0])).toEqual([
      'config.yaml:2:10: refresh: found "soon"',
      'config.yaml:6:11: upstreams[1].name: found "a", as in upstreams[0]',
      'config.yaml:7:10: upstreams[1].url: found "ftp://a"',
      'config.yaml:8:5: upstreams[1].passwordFile: found passwordFile without username',
      'config.yaml:8:19: upstreams[1].passwordFile: found "gone"',
      'config.yaml:9:5: upstreams[1].colour: found a key we do not know',
      'config.yaml:11:10: log.level: found "loud"',
    ])
  })

  it('everything that is wrong in one rate', async () => {
    const rate = '{timezone: Berlin, windows: {night: fast, 22:00-05:00: slow}, else: much, closed: maybe}'
    for (const [text, path] of [
      [`rate: ${rate}`, 'rate'],
      [`upstreams: [{name: a, url: "http://a", rate: ${rate}}]`, 'upstreams[0].rate'],
    ] as const) {
      const found = (await complaintsOf(text)).map((line) => line.split(';')[0]!.replace(/^\S+ /, ''))
      expect(found.sort()).toEqual(
        [
          `${path}.closed: found "maybe"`,
          `${path}.else: found "much"`,
          `${path}.timezone: found "Berlin"`,
          `${path}.windows.22:00-05:00: found "slow"`,
          `${path}.windows.night: found "fast"`,
          `${path}.windows.night: found "night"`,
        ].sort(),
      )
    }
  })

  it.each([
    [
      'listen: "127.0.0.1:80"\noperator: "127.0.0.1:80"',
      /2:11: operator: found "127\.0\.0\.1:80", which is taken by listen/,
    ],
    [
      'listen: ["0.0.0.0:80", "[::1]:81"]\noperator: "127.0.0.1:80"',
      /operator: .* taken by listen\[0\]: 0\.0\.0\.0:80/,
    ],
    ['listen: "0.0.0.0:8081"', /1:9: listen: found "127\.0\.0\.1:8081"/],
    ['listen: unix:a\noperator: [unix:b, unix:a]', /operator\[1\]: found "unix:a"/],
    ['listen: ["127.0.0.1:80", "127.0.0.1:80"]', /listen\[1\]: found/],
  ])('two listeners at one address: %s', async (text, complaint) => {
    const complaints = await complaintsOf(text)
    expect(complaints).toHaveLength(1)
    expect(complaints[0]).toMatch(complaint)
  })

  it('a quota, a pin and a scrub that mean nothing', async () => {
    const text = 'quota: 120%\npins: ["nmae=base"]\nscrub: {every: sometimes, rate: unlimited}\nverifyOnRead: yes'
    const complaints = await complaintsOf(text)
    expect(complaints.map((line) => line.split(';')[0])).toEqual([
      'config.yaml:1:8: quota: found "120%"',
      'config.yaml:2:8: pins[0]: found "nmae=base"',
      'config.yaml:3:16: scrub.every: found "sometimes"',
      'config.yaml:3:33: scrub.rate: found "unlimited"',
      'config.yaml:4:15: verifyOnRead: found "yes"',
    ])
    expect(await complaintsOf('quota: 0%')).toHaveLength(1)
    expect(await complaintsOf('quota: 10KiB')).toHaveLength(1)
  })

  it('a key to trust that is none, a site without a name, and a want that means nothing', async () => {
    const text = 'bundles: {trustedKeys: [cert.pem, absent.pub], site: "a\\nb", wanted: [newest base]}'
    const complaints = await complaintsOf(text)
    expect(complaints.map((line) => line.replace(/;.*|\(.*/, ''))).toEqual([
      'config.yaml:1:25: bundles.trustedKeys[0]: right is a file with one public key, as minisign writes it and keys/mirror.pub is',
      'config.yaml:1:35: bundles.trustedKeys[1]: found "absent.pub"',
      'config.yaml:1:54: bundles.site: found "a\\nb"',
      'config.yaml:1:71: bundles.wanted[0]: found "newest base"',
    ])
  })

  it('credentials in a url, without repeating them', async () => {
    const [complaint] = await complaintsOf('upstreams: [{name: a, url: "https://me:geheim@a"}]')
    expect(complaint).toMatch(/passwordFile/)
    expect(complaint).not.toContain('geheim')
  })
})

describe('environment variables', () => {
  it('set single keys, over the file and where it says nothing', async () => {
    const config = await load(`${WITH_UPSTREAM}refresh: 1h`, {
      IMGAPI_MIRROR_LISTEN: '[::1]:8080',
      IMGAPI_MIRROR_OFFLINE: 'true',
      IMGAPI_MIRROR_REFRESH: '1h30m',
      IMGAPI_MIRROR_MISS_TTL: '5s',
      IMGAPI_MIRROR_MAX_ANCESTRY: '7',
      IMGAPI_MIRROR_LOG_LEVEL: 'debug',
      IMGAPI_MIRROR_UPSTREAMS_SMARTOS_TIMEOUTS_STALL: '9s',
      IMGAPI_MIRROR_UPSTREAMS_0_USERNAME: '007',
      IMGAPI_MIRROR_UPSTREAMS_0_PASSWORD_FILE: 'password',
      IMGAPI_MIRROR_UPSTREAMS_1_NAME: 'second',
      IMGAPI_MIRROR_UPSTREAMS_1_URL: 'http://second',
      IMGAPI_MIRROR_DATA: '',
      HOME: '/root',
    })
    expect(config).toMatchObject({
      listen: ['[::1]:8080'],
      isOffline: true,
      refreshMs: 5_400_000,
      missTtlMs: 5000,
      maxAncestry: 7,
      log: { level: 'debug', format: 'auto' },
      dataDirectory: join(directory, 'data'),
    })
    expect(config.upstreams.map(({ name }) => name)).toEqual(['smartos', 'second'])
    expect(config.upstreams[0]).toMatchObject({ username: '007', timeouts: { connectMs: 10_000, stallMs: 9000 } })
  })

  it('set a list as a whole, and then parts of it', async () => {
    const config = await load(WITH_UPSTREAM, {
      IMGAPI_MIRROR_UPSTREAMS: '[{name: a, url: "http://a"}]',
      IMGAPI_MIRROR_UPSTREAMS_0_CONNECTIONS: '2',
      IMGAPI_MIRROR_LISTEN: '["127.0.0.1:1", "127.0.0.1:2"]',
    })
    expect(config.upstreams).toMatchObject([{ name: 'a', connections: 2 }])
    expect(config.listen).toHaveLength(2)
  })

  it('are named when they are wrong', async () => {
    const complaints = await complaintsOf(`${WITH_UPSTREAM}refresh: 1x`, {
      IMGAPI_MIRROR_LOG_LEVEL: 'loud',
      IMGAPI_MIRROR_LISTN: 'a:1',
      IMGAPI_MIRROR_UPSTREAMS_0_URL: 'http://a',
      IMGAPI_MIRROR_UPSTREAMS_SMARTOS_URL: 'http://b',
    })
    expect(complaints.sort()).toEqual([
      expect.stringMatching(/^config\.yaml:5:10: refresh: found "1x"/),
      'environment variable IMGAPI_MIRROR_LISTN: no key is called so; did you mean IMGAPI_MIRROR_LISTEN?',
      'environment variable IMGAPI_MIRROR_LOG_LEVEL: log.level: found "loud"; right is one of debug, info, warn, error',
      'environment variable IMGAPI_MIRROR_UPSTREAMS_SMARTOS_URL: sets upstreams[0].url, which IMGAPI_MIRROR_UPSTREAMS_0_URL sets too; keep one of them',
    ])
  })

  it('do not reach one of two upstreams whose names look the same there', async () => {
    const twins = 'upstreams: [{name: a-b, url: "http://a"}, {name: a.b, url: "http://b"}]'
    expect(await complaintsOf(twins, { IMGAPI_MIRROR_UPSTREAMS_A_B_URL: 'http://c' })).toHaveLength(1)
    expect((await load(twins, { IMGAPI_MIRROR_UPSTREAMS_1_URL: 'http://c' })).upstreams[1]?.url.host).toBe('c')
  })
})

describe('what is generated from the schema', () => {
  const shipped = (name: string) => readFile(new URL(`../../config/${name}`, import.meta.url), 'utf8')

  it('is what config/ ships (else: npm run generate)', async () => {
    expect(await shipped('example.yaml')).toBe(exampleYaml())
    expect(await shipped('schema.json')).toBe(jsonSchema())
  })

  it('is an example that is right as it stands, and equals the defaults', async () => {
    const example = await load(exampleYaml())
    expect(example).toEqual(await load(WITH_UPSTREAM))
  })

  it('is an example that stays right with every key in use', async () => {
    const lines = exampleYaml().split('\n')
    // A key shown with its default and again with an example keeps the example only.
    const uncommented = lines.flatMap((line, index) => {
      const key = /^ *(\w+):/.exec(line)?.[1]
      const next = lines[index + 1] ?? ''
      // What is for one type only cannot stand beside what is for another.
      if (/^ *#(images|authHosts|dockerConfig):/.test(line)) return []
      return key && next.trimStart().startsWith(`#${key}:`) ? [] : [line.replace(/^( *)#(\w)/, '$1$2')]
    })
    const text = uncommented.join('\n')
    const token = makeToken()
    const { publicKey } = makeSigner()
    const readFile = async (path: string) => {
      if (path.endsWith('.pub')) return publicKey
      return path.endsWith('operator.token') ? token : 'content'
    }
    const config = await loadConfig({ path: 'c.yaml', text, environment: {}, readFile })
    expect(config.upstreams[0]).toMatchObject({ channel: 'release', username: 'mirror', cert: 'content' })
    expect(config.upstreams[0]?.include).toHaveLength(2)
  })

  it('is a schema that describes every key', () => {
    const undescribed: string[] = []
    const visit = (schema: Record<string, unknown>, path: string) => {
      for (const [key, inner] of Object.entries((schema.properties ?? {}) as Record<string, Record<string, unknown>>)) {
        if (typeof inner.description !== 'string') undescribed.push(`${path}.${key}`)
        visit(inner, `${path}.${key}`)
      }
      for (const inner of Object.values(schema)) {
        if (typeof inner === 'object' && inner !== null) visit(inner as Record<string, unknown>, path)
      }
    }
    visit(JSON.parse(jsonSchema()), '')
    expect(undescribed).toEqual([])
  })

  it('is not needed for the config that npm start uses: that one is right too', async () => {
    const path = new URL('../../config/default.yaml', import.meta.url).pathname
    const config = await loadConfig({
      path,
      text: await shipped('default.yaml'),
      environment: {},
      readFile: (path) => readFile(path, 'utf8'),
    })
    expect(config.upstreams).toMatchObject([{ name: 'smartos', url: new URL('https://images.smartos.org') }])
    expect(config.dataDirectory).toBe(new URL('../../data', import.meta.url).pathname)
  })
})
