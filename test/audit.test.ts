import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { temporaryDirectory } from './support/temporary.js'

const root = join(import.meta.dirname, '..')

/** Runs `npm run audit` against a registry that answers so. */
async function audit(answer: RequestListener): Promise<{ exitCode: number; output: string }> {
  const registry = createServer(answer).listen(0, '127.0.0.1')
  await once(registry, 'listening')
  onTestFinished(() => void registry.close())
  const { port } = registry.address() as AddressInfo
  // A cache of its own: npm keeps answers.
  const settings = {
    npm_config_registry: `http://127.0.0.1:${port}/`,
    npm_config_cache: await temporaryDirectory(),
    npm_config_fetch_retry_mintimeout: '1',
    npm_config_fetch_retry_maxtimeout: '1',
  }
  return await new Promise((resolve) => {
    const environment = { ...process.env, ...settings }
    const child = execFile(
      process.execPath,
      ['scripts/audit.mjs'],
      { cwd: root, env: environment },
      (_error, ...texts) => resolve({ exitCode: child.exitCode!, output: texts.join('') }),
    )
  })
}

/** A registry that knows these flaws: npm asks it for them, and then for each package that has one. */
function registryThatKnows(flaws: Record<string, object[]>): RequestListener {
  return ({ method, url }, response) => {
    const name = decodeURIComponent(url!.slice(1))
    const versions = { '3.3.0': { name, version: '3.3.0' } }
    const body = method === 'POST' ? flaws : { name, versions, 'dist-tags': { latest: '3.3.0' } }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
  }
}

describe('npm run audit', () => {
  it('exits with 0 when the registry knows of no flaw', async () => {
    const { exitCode, output } = await audit(registryThatKnows({}))
    expect(output).toMatch(/no known flaw in \d\d+ packages of production/)
    expect(exitCode).toBe(0)
  })

  it('exits with 1 and names the flaw of a package that is shipped', async () => {
    const flaw = {
      id: 1,
      url: 'https://advisories.example/1',
      title: 'Says too much',
      severity: 'high',
      vulnerable_versions: '*',
    }
    const { exitCode, output } = await audit(registryThatKnows({ koa: [flaw] }))
    expect(output).toContain('high koa: Says too much (https://advisories.example/1)')
    expect(exitCode).toBe(1)
  })

  it.each([
    ['refuses the question', (response: Parameters<RequestListener>[1]) => response.writeHead(405).end()],
    ['breaks off', (response: Parameters<RequestListener>[1]) => response.destroy()],
  ])('says that nothing is known when the registry %s, and exits with neither', async (_how, end) => {
    const { exitCode, output } = await audit((_request, response) => void end(response))
    expect(output).toContain('NOT AUDITED: the registry could not be asked')
    expect(exitCode).toBe(3)
  })
})
