// npm run --silent sbom > imgapi-mirror.cdx.json
// What is shipped beside our own code, as CycloneDX: every package of production with version, license and checksum. The same lock
// file gives the same bytes.
//
// Not `npm sbom --omit=dev`: that leaves out every package that a tool of development wants as well, zod and yaml among them (npm 11).
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, say } from './ready.mjs'

const args = ['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx']
const { status, stdout, stderr } = spawnSync('npm', args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 })
if (status !== 0) {
  say(`npm sbom failed:\n${stderr}`)
  process.exit(1)
}

const { serialNumber: _random, metadata, ...bom } = JSON.parse(stdout)
const { timestamp: _now, ...described } = metadata
const isShipped = shippedPackages()
const components = bom.components.filter((/** @type {Component} */ { name, version }) => isShipped(name, version))
const references = new Set([
  metadata.component['bom-ref'],
  ...components.map((/** @type {Component} */ each) => each['bom-ref']),
])
const dependencies = bom.dependencies
  .filter((/** @type {Dependency} */ { ref }) => references.has(ref))
  .map((/** @type {Dependency} */ { ref, dependsOn = [] }) => ({
    ref,
    dependsOn: dependsOn.filter((each) => references.has(each)),
  }))
console.log(JSON.stringify({ ...bom, metadata: described, components, dependencies }, undefined, 2))

/** @typedef {{ name: string, version: string, 'bom-ref': string }} Component */
/** @typedef {{ ref: string, dependsOn?: string[] }} Dependency */

/** Which packages the lock file has for production. */
function shippedPackages() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const shipped = new Set(
    Object.entries(packages)
      .filter(([path, { dev }]) => path !== '' && !dev)
      .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`),
  )
  return (/** @type {string} */ name, /** @type {string} */ version) => shipped.has(`${name}@${version}`)
}
