// npm test: everything CI says, on a fresh clone too. `npm test -- test/store` runs only those tests, after the same
// checks; `--checks-only` (npm run check) runs no tests.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { freemem, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { binary, build, installPackages, root, say, succeeds } from './ready.mjs'

/** Real programs that tests run against: the command, and the Debian package it comes in. */
const PROGRAMS = {
  nginx: 'nginx-light',
  'zfs-fuse': 'zfs-fuse',
  xz: 'xz-utils',
  strace: 'strace',
  curl: 'curl',
  openssl: 'openssl',
  'ssh-keygen': 'openssh-client',
  'docker-registry': 'docker-registry',
  skopeo: 'skopeo',
  zstd: 'zstd',
  minisign: 'minisign',
  prometheus: 'prometheus',
  promtool: 'prometheus',
  haproxy: 'haproxy',
  'systemd-analyze': 'systemd',
  xmllint: 'libxml2-utils',
  shellcheck: 'shellcheck',
  rsync: 'rsync',
}

/** What all tests together may leave lying about at one moment. */
const PLENTY_BYTES = 4 * 1024 ** 3

/** Where Debian looks for a program that says which services may start (invoke-rc.d, deb-systemd-invoke). */
const SERVICE_POLICY = '/usr/sbin/policy-rc.d'

/** @type {{ name: string, check: () => boolean }[]} in the order in which a mistake is cheapest to see */
const CHECKS = [
  { name: 'types', check: () => succeeds(binary('tsc'), ['-p', 'tsconfig.check.json']) },
  { name: 'format, lint', check: () => succeeds(binary('biome'), ['ci']) },
  { name: 'promises', check: () => succeeds(binary('eslint'), ['.']) },
  { name: 'nothing unused', check: () => succeeds(binary('knip'), []) },
  { name: 'no cycles', check: () => succeeds(binary('depcruise'), ['src', '--config', '.dependency-cruiser.cjs']) },
  { name: 'generated files', check: () => succeeds(binary('tsx'), ['scripts/generate.ts', '--check']) },
  { name: 'build', check: build },
]

const args = process.argv.slice(2)
const isChecksOnly = args.includes('--checks-only')
const testFilter = args.filter((arg) => arg !== '--checks-only')

if (!installPackages({ isDevelopment: true })) {
  say('without npm packages nothing can be tested')
  process.exit(1)
}
const absent = isChecksOnly ? [] : installPrograms()

const results = CHECKS.map(({ name, check }) => {
  const startMs = performance.now()
  say(`check: ${name}`)
  return { name, passed: check(), seconds: (performance.now() - startMs) / 1000 }
})
const tests = isChecksOnly ? { passed: 0, failed: 0, skipped: 0 } : runTests()

console.log('\nSummary')
for (const { name, passed, seconds } of results) {
  console.log(`  ${passed ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(1)} s)`)
}
if (!isChecksOnly) console.log(`  ${tests.failed === 0 ? 'ok    ' : 'FAILED'} tests`)
if (absent.length > 0) console.log(`  NOT INSTALLED: ${absent.join(', ')}: the tests that need them were skipped`)

const passed = tests.passed + results.filter((result) => result.passed).length
const failed = tests.failed + results.filter((result) => !result.passed).length
console.log(`${passed} passed, ${failed} failed, ${tests.skipped} skipped`)
process.exitCode = failed === 0 ? 0 : 1

/** Installs what is missing if we may. Answers the packages that are still missing. */
function installPrograms() {
  const missing = missingPrograms()
  if (missing.length === 0) return []
  say(`tests want Debian packages that are not installed: ${missing.join(', ')}`)
  const isRoot = process.getuid?.() === 0
  if (isRoot && isOnPath('apt-get')) {
    const environment = { DEBIAN_FRONTEND: 'noninteractive' }
    const install = () =>
      succeeds('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], environment)
    withoutStartingServices(() => {
      if (!install() && succeeds('apt-get', ['update', '-q'], environment)) install()
    })
  } else say(`not root, or no apt-get: install them by hand (apt-get install ${missing.join(' ')})`)

  const still = missingPrograms()
  if (still.length > 0) say(`*** STILL MISSING: ${still.join(', ')}. Tests that need them will be SKIPPED. ***`)
  return still
}

/**
 * Debian starts a server as soon as it is installed. Ours are for tests, which start their own, on ports of their own.
 * A policy that is already there is its administrator's, and stays.
 * @param {() => void} install
 */
function withoutStartingServices(install) {
  if (existsSync(SERVICE_POLICY)) return install()
  const policy = '#!/bin/sh\n# Of "npm test", while it installs packages. If it was left behind, remove it.\nexit 101\n'
  writeFileSync(SERVICE_POLICY, policy, { flag: 'wx', mode: 0o755 })
  try {
    install()
  } finally {
    rmSync(SERVICE_POLICY, { force: true })
  }
}

function missingPrograms() {
  const missing = Object.entries(PROGRAMS).filter(([command]) => !isOnPath(command))
  return [...new Set(missing.map(([, debianPackage]) => debianPackage))]
}

/** @param {string} command */
function isOnPath(command) {
  // Servers live in sbin, which is not on everybody's path.
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
  return directories.some((directory) => existsSync(join(directory, command)))
}

/**
 * Where tests make their directories: in memory, where there is plenty, as thousands of stores that sync every step wait for
 * the disk most of the time. No promise rests on a real disk: power cuts are played by file systems of our own, full
 * disks are mounted by the tests that need one.
 */
function temporaryRoot() {
  const memory = '/dev/shm'
  if (process.env.TMPDIR || !existsSync(memory)) return tmpdir()
  const { bavail, bsize } = statfsSync(memory)
  const isPlenty = bavail * bsize > PLENTY_BYTES && freemem() > 2 * PLENTY_BYTES
  return isPlenty ? memory : tmpdir()
}

function runTests() {
  const directory = mkdtempSync(join(temporaryRoot(), 'im-'))
  // Users without rights, as whom some tests run what they test, pass through it to what is theirs.
  chmodSync(directory, 0o711)
  const report = join(directory, 'report.json')
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
    const { status } = spawnSync(binary('vitest'), ['run', ...reporters, ...testFilter], {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, TMPDIR: directory },
    })
    if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0 }

    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = JSON.parse(readFileSync(report, 'utf8'))
    // A file that cannot even be loaded fails the run without a failed test.
    const failed = status !== 0 && numFailedTests === 0 ? 1 : numFailedTests
    return { passed: numPassedTests, failed, skipped: numPendingTests + numTodoTests }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
