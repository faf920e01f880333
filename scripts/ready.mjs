// Brings a clone to where it can run: npm packages, and dist/ built from src/. Fast when nothing is to do, and needs only
// Node and npm. Used by the scripts beside it.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

/** @param {string} line */
export function say(line) {
  console.error(`imgapi-mirror: ${line}`)
}

/**
 * Runs a command in the clone, its output on ours. Answers whether it succeeded.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [environment] on top of ours
 */
export function succeeds(command, args, environment = {}) {
  const { error, status } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...environment },
    // Our standard output belongs to what is started afterwards.
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
  })
  if (error) say(`${command}: ${error.message}`)
  return status === 0
}

/** @param {string} name */
export function binary(name) {
  return join(root, 'node_modules', '.bin', name)
}

/**
 * Installs the npm packages of the lock file unless they are there. An install that fails while older packages are in
 * place (no network) is said, and left at that.
 * @param {{ isDevelopment: boolean }} options whether those for building and testing are needed too
 */
export function installPackages({ isDevelopment }) {
  const missing = missingPackages(isDevelopment)
  if (missing.length === 0) return true

  const isFresh = !existsSync(join(root, 'node_modules', '.package-lock.json'))
  say(
    isFresh ? 'installing npm packages...' : `npm packages differ from the lock file (${missing[0]}...): installing...`,
  )
  // Not `npm ci`, for two reasons. It begins by deleting what is there, so without a network it would take away what
  // works. And it refuses our lock file, which lacks the optional packages for some other systems (@biomejs/cli-darwin-arm64
  // and the like): they could not be had when it was written. The versions are those of the lock file here too.
  // What npm's cache has is as good, by its checksum; and npm's own patience without a network is many silent minutes.
  const patience = ['--prefer-offline', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000']
  const isInstalled = succeeds('npm', ['install', '--no-save', '--include=dev', '--no-audit', '--no-fund', ...patience])
  if (!isInstalled && !isFresh) say('npm packages could NOT be brought up to date: going on with those that are there')
  return isInstalled || !isFresh
}

/**
 * The lock file against npm's own record of what is installed, which it writes last.
 * @param {boolean} isDevelopment
 * @returns {string[]}
 */
function missingPackages(isDevelopment) {
  const wanted = readPackages(join(root, 'package-lock.json'))
  const installed = readPackages(join(root, 'node_modules', '.package-lock.json'))
  return Object.entries(wanted)
    .filter(([path, { optional, dev }]) => path !== '' && !optional && (isDevelopment || !dev))
    .filter(([path, { version }]) => installed[path]?.version !== version)
    .map(([path]) => path)
}

/**
 * @param {string} path
 * @returns {Record<string, { version?: string, dev?: boolean, optional?: boolean }>}
 */
function readPackages(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : {}
}

/** Installs and builds what is missing or stale, so that dist/ can run. Answers whether it can. */
export function prepare() {
  const mustBuild = !isBuilt()
  if (!installPackages({ isDevelopment: mustBuild })) return false
  if (!mustBuild) return true
  say('building...')
  return build()
}

const dist = join(root, 'dist')
const stamp = join(dist, '.built-from')

/** Whether dist/ was built from just these sources. */
function isBuilt() {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprintOfSources()
}

/**
 * Builds dist/ from nothing, so that no file of a deleted source stays behind, and beside the old one, so that whoever
 * starts meanwhile finds one or the other.
 */
export function build() {
  const wasBuilt = isBuilt()
  const fingerprint = fingerprintOfSources()
  const fresh = join(root, `dist-${process.pid}`)
  // Whoever builds it, the service's own user must be able to read it, and a package of it is the same bytes.
  const umask = process.umask(0o022)
  try {
    if (!succeeds(binary('tsc'), ['-p', 'tsconfig.json', '--outDir', fresh])) return false
    writeFileSync(join(fresh, '.built-from'), fingerprint)
    if (!wasBuilt && isBuilt()) return true // by somebody who started when we did, of the same sources
    rmSync(dist, { recursive: true, force: true })
    renameSync(fresh, dist)
    return true
  } finally {
    process.umask(umask)
    rmSync(fresh, { recursive: true, force: true })
  }
}

/** Names, sizes and times, not contents: a look at a hundred files takes a few milliseconds. */
function fingerprintOfSources() {
  const hash = createHash('sha256')
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).map((path) => join('src', path))
  for (const path of [...sources, 'tsconfig.json', 'package-lock.json'].sort()) {
    const found = statSync(join(root, path))
    if (found.isFile()) hash.update(`${path} ${found.size} ${found.mtimeMs}\n`)
  }
  return hash.digest('hex')
}
