// Stands in for SmartOS' imgadm where commands of the documents are run: it asks its sources what the real one asks them,
// in that order, and compares what it gets. Nothing is installed.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const SOURCES = join(process.env.HOME ?? '.', '.imgadm-sources')
const HEADERS = { accept: 'application/json', 'user-agent': 'imgadm/3.9.5', 'accept-version': '~2' }

const [command, ...words] = process.argv.slice(2)
const sources = existsSync(SOURCES) ? readFileSync(SOURCES, 'utf8').split('\n').filter(Boolean) : []

/** @type {Record<string, () => Promise<void>>} */
const COMMANDS = {
  async sources() {
    const [option, source] = words
    if (!source) return console.log(sources.join('\n'))
    const isDsapi = words.join(' ').includes('-t dsapi')
    // An IMGAPI source is greeted; of a DSAPI one the list is asked for. One that is taken away is asked nothing.
    if (option === '-a') await (isDsapi ? get(source, '') : get(source, '/ping'))
    const others = sources.filter((each) => each !== source)
    writeFileSync(SOURCES, (option === '-a' ? [...others, source] : others).join('\n'))
  },
  async avail() {
    for (const source of sources) {
      for (const { name, uuid } of await json(await get(source, '/images'))) console.log(uuid, name)
    }
  },
  async import() {
    const [source] = sources
    if (!source) throw new Error('no sources')
    for (let uuid = words[0]; uuid; ) {
      const manifest = await json(await get(source, `/images/${uuid}`))
      const bytes = Buffer.from(await (await get(source, `/images/${uuid}/file`)).arrayBuffer())
      const [{ sha1, size }] = manifest.files
      if (bytes.length !== size || createHash('sha1').update(bytes).digest('hex') !== sha1) throw new Error('bad bytes')
      console.log(`Imported image ${uuid}`)
      uuid = manifest.origin
    }
  },
  async install() {
    const manifest = JSON.parse(readFileSync(words[words.indexOf('-m') + 1] ?? '', 'utf8'))
    const bytes = readFileSync(words[words.indexOf('-f') + 1] ?? '')
    const [{ sha1, size }] = manifest.files
    if (bytes.length !== size || createHash('sha1').update(bytes).digest('hex') !== sha1) throw new Error('bad bytes')
    console.log(`Installed image ${manifest.uuid}`)
  },
  async publish() {
    const url = words.at(-1) ?? ''
    const manifest = JSON.parse(readFileSync(words[words.indexOf('-m') + 1] ?? '', 'utf8'))
    const file = readFileSync(words[words.indexOf('-f') + 1] ?? '')
    const path = `/images/${manifest.uuid}`
    await send(url, 'POST', `${path}?action=import`, JSON.stringify(manifest))
    await send(url, 'PUT', `${path}/file?compression=gzip`, file)
    await send(url, 'POST', `${path}?action=activate`, '{}')
  },
}

/**
 * @param {string} source
 * @param {string} path
 */
async function get(source, path) {
  const url = new URL(source)
  const asked = `${url.origin}${url.pathname.replace(/\/$/, '')}${path}${url.search}`
  return await checked(await fetch(asked, { headers: HEADERS }))
}

/**
 * @param {Response} response
 * @returns {Promise<any>} as imgadm takes it: unread
 */
async function json(response) {
  return await response.json()
}

/**
 * @param {string} to
 * @param {string} method
 * @param {string} path
 * @param {string | Buffer} body
 */
async function send(to, method, path, body) {
  const { origin, password, username } = new URL(to)
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  await checked(await fetch(`${origin}${path}`, { method, body, headers: { ...HEADERS, authorization } }))
}

/** @param {Response} response */
async function checked(response) {
  if (!response.ok) throw new Error(`${response.url}: ${response.status} ${await response.text()}`)
  return response
}

const run = COMMANDS[command ?? '']
if (!run) throw new Error(`this stand-in knows no imgadm ${command}`)
await run()
