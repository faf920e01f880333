// What npm run demo shows, step by step. Whatever it says of a mirror it has just seen, or it fails.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { download, getText } from './client.mjs'
import { sha1Of } from './images.mjs'
import { MirrorProcess } from './mirror-process.mjs'
import { progress, quote, received, sent, size, step, table, tell, title } from './narrator.mjs'
import { makeUpstreams } from './upstreams.mjs'

/** @typedef {import('./images.mjs').DemoImage} DemoImage */
/** @typedef {{ uuid: string, name: string, version: string, type: string, origin?: string, files: { sha1: string, size: number }[] }} Manifest */
/** @typedef {Awaited<ReturnType<typeof makeUpstreams>>} Upstreams */

/** How many hosts ask for the same image at once. */
const HOSTS = 10

/**
 * @param {object} options
 * @param {boolean} options.isKept whether everything stays up at the end, until `stop`
 * @param {AbortSignal} options.stop ends it early, and cleans up
 */
export async function play({ isKept, stop }) {
  const directory = await mkdtemp(join(tmpdir(), 'imgapi-mirror-demo-'))
  /** @type {(() => Promise<void>)[]} */
  const closers = [() => rm(directory, { recursive: true, force: true })]
  try {
    const stopped = new Promise((_, reject) =>
      stop.addEventListener('abort', () => reject(stop.reason), { once: true }),
    )
    await Promise.race([stopped, perform(directory, closers, isKept)])
    if (isKept) await stopped
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

/**
 * @param {string} directory
 * @param {(() => Promise<void>)[]} closers where to put what undoes each thing done
 * @param {boolean} isKept
 */
async function perform(directory, closers, isKept) {
  title('imgapi-mirror: one source in front of five servers')
  tell(`Everything is on 127.0.0.1, and in ${directory}, until ${isKept ? 'Ctrl-C' : 'the end'}.`)

  const upstreams = await makeUpstreams(directory)
  closers.push(() => upstreams.stop())
  const mirror = await MirrorProcess.make(
    directory,
    upstreams.list.map(({ what, ...upstream }) => ({ ...upstream, comment: what })),
  )
  closers.push(() => mirror.stop())

  await showUpstreams(upstreams)
  await showMirror(mirror)
  await showPing(mirror)
  const manifests = await showAvail(mirror, upstreams)
  await showShow(mirror, upstreams)
  await showImport(mirror, upstreams.images.webShop, manifests)
  await showManyHosts(mirror, upstreams)
  await showLie(mirror, upstreams)
  await showBlobs(mirror, upstreams)
  await showServingAlone(mirror, upstreams)
  if (isKept) await showWhatToTry(mirror, upstreams)
}

/** @param {Upstreams} upstreams */
async function showUpstreams(upstreams) {
  step('Five upstreams, one of them dead and one a liar')
  await upstreams.start()
  table([['UPSTREAM', 'TYPE', 'WHAT IT IS'], ...upstreams.list.map(({ name, type, what }) => [name, type, what])])
  const { base, postgresql, webShop } = upstreams.images
  tell(
    `${nameOf(webShop)}, at archive, builds on ${nameOf(postgresql)}, at neighbour, which builds on ${nameOf(base)}, at ` +
      'vendor. No single one of these servers could give a host all three.',
  )
}

/** @param {MirrorProcess} mirror */
async function showMirror(mirror) {
  step('The mirror before them')
  tell(`imgapi-mirror serve --config ${mirror.configFile}`)
  quote(mirror.config)
  await mirror.start()
  const { upstreams } = await mirror.status()
  tell(`It runs, and tells operators at ${mirror.operatorUrl}/status:`)
  showStates(upstreams)
}

/** @param {MirrorProcess} mirror */
async function showPing(mirror) {
  step(`imgadm sources -a ${mirror.url}`)
  sent('GET /ping')
  const { status, text } = await getText(`${mirror.url}/ping`)
  const pong = JSON.parse(text)
  received(`${status} ${JSON.stringify(pong)}`)
  expect(pong.imgapi === true, 'the mirror says that it is an IMGAPI')
}

/**
 * @param {MirrorProcess} mirror
 * @param {Upstreams} upstreams
 * @returns {Promise<Manifest[]>}
 */
async function showAvail(mirror, upstreams) {
  step('imgadm avail')
  sent('GET /images')
  const { status, sizeBytes, text } = await getText(`${mirror.url}/images`)
  /** @type {Manifest[]} */
  const manifests = JSON.parse(text)
  received(`${status} ${manifests.length} images, ${size(sizeBytes)}`)
  table([
    ['UUID', 'NAME', 'VERSION', 'TYPE'],
    ...manifests.map(({ uuid, name, version, type }) => [uuid, name, version, type]),
  ])
  expect(manifests.length === Object.keys(upstreams.images).length, 'the mirror lists every image of every upstream')
  return manifests
}

/**
 * @param {MirrorProcess} mirror
 * @param {Upstreams} upstreams
 */
async function showShow(mirror, { images: { webShop } }) {
  step(`imgadm show: ${nameOf(webShop)}`)
  sent(`GET /images/${webShop.uuid}`)
  const { status, text } = await getText(`${mirror.url}/images/${webShop.uuid}`)
  received(String(status))
  quote(text.split('\n'))
  tell(
    'In the archive this is a manifest of version 1: no "v", no "state", no seconds in its date, its compression only in ' +
      'the name of the file.',
  )
}

/**
 * As imgadm does it: first the manifests up the chain, then the files, all at once.
 * @param {MirrorProcess} mirror
 * @param {DemoImage} leaf
 * @param {readonly Manifest[]} manifests
 */
async function showImport(mirror, leaf, manifests) {
  step(`imgadm import: ${nameOf(leaf)} and what it builds on`)
  /** @type {Manifest[]} */
  const chain = []
  for (let uuid = /** @type {string | undefined} */ (leaf.uuid); uuid !== undefined; uuid = chain.at(-1)?.origin) {
    sent(`GET /images/${uuid}`)
    const { status, text } = await getText(`${mirror.url}/images/${uuid}`)
    chain.push(JSON.parse(text))
    received(`${status} ${nameOf(chain.at(-1))}${chain.at(-1)?.origin ? ', which has an origin' : ', the base'}`)
  }
  expect(chain.length === 3 && manifests.length > 0, 'the chain has three images')

  for (const { uuid } of chain) sent(`GET /images/${uuid}/file`)
  const arrived = chain.map(() => 0)
  const totalBytes = chain.reduce((sum, { files }) => sum + (files[0]?.size ?? 0), 0)
  const downloads = await Promise.all(
    chain.map(({ uuid }, place) =>
      download(fileUrl(mirror, uuid), (receivedBytes) => {
        arrived[place] = receivedBytes
        progress(
          arrived.reduce((sum, bytes) => sum + bytes, 0),
          totalBytes,
        )
      }),
    ),
  )
  for (const [place, file] of downloads.entries()) {
    const manifest = chain[place]
    const isRight = file.isComplete && file.sha1 === manifest?.files[0]?.sha1
    received(
      `${file.status} ${nameOf(manifest)}: ${size(file.receivedBytes)} in ${Math.round(file.durationMs)} ms, sha1 ok`,
    )
    expect(isRight, `the file of ${nameOf(manifest)} has the sha1 of its manifest`)
  }
  tell(
    'For the host it was one server. With the five as its own sources, imgadm would have failed at the first of them, ' +
      'which is dead, although others have what it wants.',
  )
}

/**
 * @param {MirrorProcess} mirror
 * @param {Upstreams} upstreams
 */
async function showManyHosts(mirror, { images: { redis }, vendor }) {
  step(`${HOSTS} hosts import ${nameOf(redis)} at once`)
  const before = vendor.filesAsked
  sent(`GET /images/${redis.uuid}/file (${HOSTS} times)`)
  const files = await Promise.all(Array.from({ length: HOSTS }, () => download(fileUrl(mirror, redis.uuid))))
  const good = files.filter(({ isComplete, sha1 }) => isComplete && sha1 === sha1Of(redis.file))
  received(`200 ${good.length} times ${size(redis.file.length)}, sha1 ok`)
  const asked = vendor.filesAsked - before
  tell(`The vendor was asked for it ${asked === 1 ? 'once' : `${asked} times`}.`)
  expect(good.length === HOSTS, 'every host has the right bytes')
  expect(asked === 1, 'the vendor was asked once')
}

/**
 * @param {MirrorProcess} mirror
 * @param {Upstreams} upstreams
 */
async function showLie(mirror, { images: { lottery }, liar, vendor }) {
  step(`An upstream that lies: ${nameOf(lottery)}`)
  tell(
    'Liar and vendor both have it, and liar comes first. It sends the right length, and one wrong byte in the middle.',
  )
  // The last piece of the lie waits until its first has reached the client, so that it is too late for a status.
  /** @type {() => void} */
  let hasBegun = () => {}
  liar.liesUntil = new Promise((resolve) => {
    hasBegun = () => resolve(undefined)
  })
  const askedBefore = vendor.filesAsked
  sent(`GET /images/${lottery.uuid}/file`)
  const bad = await download(fileUrl(mirror, lottery.uuid), () => hasBegun())
  received(`${bad.status} Content-Length: ${bad.promisedBytes}`)
  received(`(the connection ends after ${bad.receivedBytes} bytes)`)
  tell(
    'The wrong byte was on its way before anybody could know. The tail was not: the mirror keeps it back until the sha1 ' +
      'has been seen to match. So the file stays short and every client notices. The mirror logs:',
  )
  quote(await failureIn(mirror))
  expect(!bad.isComplete && bad.receivedBytes < bad.promisedBytes, 'the lie ends short of its length')

  tell(
    'It does not throw the file away. It reads the copy of the vendor along its own, takes over what differs, and sees ' +
      'the sha1 match. Asked again:',
  )
  sent(`GET /images/${lottery.uuid}/file`)
  const good = await download(fileUrl(mirror, lottery.uuid))
  const isRight = good.isComplete && good.sha1 === sha1Of(lottery.file)
  received(`${good.status} ${size(good.receivedBytes)}, sha1 ok, mended`)
  expect(isRight && vendor.filesAsked === askedBefore + 1, 'the file is mended with the copy of the vendor')
}

/**
 * @param {MirrorProcess} mirror
 * @param {Upstreams} upstreams
 */
async function showBlobs(mirror, { images }) {
  step('What is kept, audited by hand')
  const blobs = join(mirror.data, 'blobs', 'sha256')
  tell(`Files are named by their sha256, under ${blobs}:`)
  await mirror.landed()
  const paths = await filesUnder(blobs)
  for (const path of paths) {
    const found = await sha256By(path)
    const image = Object.values(images).find(
      ({ file }) => createHash('sha256').update(file).digest('hex') === basename(path),
    )
    tell(nameOf(image))
    tell(`name      ${basename(path)}`)
    tell(`${found.by.padEnd(9)} ${found.hex}`)
    expect(found.hex === basename(path), `${path} has the sha256 of its name`)
  }
  tell('Five images, five files: nothing of the lie is among them.')
  expect(paths.length === Object.keys(images).length, 'every image has been kept, and nothing else')
}

/**
 * @param {MirrorProcess} mirror
 * @param {Upstreams} upstreams
 */
async function showServingAlone(mirror, upstreams) {
  step('All upstreams stop, and the mirror is started again')
  await upstreams.stop()
  await mirror.stop()
  await mirror.start()
  showStates((await mirror.status()).upstreams)
  tell('A second host imports the same chain:')
  const { base, postgresql, webShop } = upstreams.images
  for (const image of [webShop, postgresql, base]) {
    sent(`GET /images/${image.uuid}/file`)
    const file = await download(fileUrl(mirror, image.uuid))
    received(
      `${file.status} ${nameOf(image)}: ${size(file.receivedBytes)} in ${Math.round(file.durationMs)} ms, sha1 ok`,
    )
    expect(file.isComplete && file.sha1 === sha1Of(image.file), `${nameOf(image)} is served without any upstream`)
  }
  tell('What is held stays.')
}

/**
 * @param {MirrorProcess} mirror
 * @param {Upstreams} upstreams
 */
async function showWhatToTry(mirror, upstreams) {
  step('Yours to play with')
  upstreams.liar.liesUntil = undefined
  await upstreams.start()
  tell('The upstreams are back, and the liar is honest. Try:')
  quote([
    `M=${mirror.url}`,
    "curl $M/images?name='~s'",
    `curl $M/images/${upstreams.images.webShop.uuid}`,
    `curl $M/images/${upstreams.images.webShop.uuid}/chunks`,
    `curl ${mirror.operatorUrl}/status`,
    `curl ${mirror.operatorUrl}/metrics`,
  ])
  tell('Ctrl-C ends everything and cleans up.')
}

/** @param {import('./mirror-process.mjs').Status['upstreams']} upstreams */
function showStates(upstreams) {
  table([
    ['UPSTREAM', 'STATE', 'IMAGES', 'ASKED AGAIN (UTC)'],
    ...upstreams.map(({ name, state, images, nextRefreshAt }) => [
      name,
      state,
      String(images),
      nextRefreshAt?.slice(11, 19) ?? '',
    ]),
  ])
}

/**
 * The mirror's own line about bytes that were not the promised ones, in lines that fit.
 * @param {MirrorProcess} mirror
 */
async function failureIn(mirror) {
  await mirror.landed()
  const line = mirror.log.split('\n').findLast((each) => each.includes('is not what was promised'))
  /** @type {string} */
  const message = line === undefined ? '' : JSON.parse(line).msg
  expect(message !== '', 'the mirror says in its log what was wrong')
  return message.match(/.{1,70}(?: |$)/g)?.map((each) => each.trimEnd()) ?? [message]
}

/** @param {string} directory */
async function filesUnder(directory) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

/**
 * By the tool an auditor would take, where there is one.
 * @param {string} path
 */
async function sha256By(path) {
  const { status, stdout } = spawnSync('sha256sum', [path], { encoding: 'utf8' })
  if (status === 0) return { by: 'sha256sum', hex: stdout.slice(0, 64) }
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return { by: 'sha256', hex: hash.digest('hex') }
}

/**
 * @param {MirrorProcess} mirror
 * @param {string} uuid
 */
function fileUrl(mirror, uuid) {
  return `${mirror.url}/images/${uuid}/file`
}

/** @param {{ name: string, version: string } | undefined} image */
function nameOf(image) {
  return `${image?.name} ${image?.version}`
}

/**
 * @param {boolean} isSo
 * @param {string} promise
 */
function expect(isSo, promise) {
  if (!isSo) throw new Error(`the demo promised, and did not see: ${promise}`)
}
