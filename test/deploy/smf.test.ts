import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { whyNoPrograms } from '../support/programs.js'
import { temporaryDirectory } from '../support/temporary.js'

const run = promisify(execFile)
const shipped = join(import.meta.dirname, '..', '..', 'deploy', 'smf')
const [manifest, method] = [join(shipped, 'imgapi-mirror.xml'), join(shipped, 'imgapi-mirror.sh')]

describe('the manifest for SMF', () => {
  it.skipIf(whyNoPrograms('xmllint') !== undefined)('is in the form that its DTD demands', async () => {
    const check = (file: string) => {
      const args = ['--noout', '--nonet', '--dtdvalid', join(import.meta.dirname, 'service-bundle.dtd'), file]
      return run('xmllint', args)
    }
    await expect(check(manifest)).resolves.toBeDefined()

    const text = await readFile(manifest, 'utf8')
    const disordered = join(await temporaryDirectory(), 'disordered.xml')
    await writeFile(disordered, text.replace(/( *<stability.*\n)([\s\S]*<\/template>\n)/, '$2$1'))
    await expect(check(disordered)).rejects.toThrow('Element service content does not follow the DTD')
  })

  it('calls the method that lies beside it, gives it the properties it asks for, and reloads by SIGHUP', async () => {
    const [text, script] = [await readFile(manifest, 'utf8'), await readFile(method, 'utf8')]
    const execs = [...text.matchAll(/name="(\w+)" exec="([^"]+)"/g)].map(([, name, exec]) => `${name}: ${exec}`)
    expect(execs).toEqual([
      'start: /opt/imgapi-mirror/deploy/smf/imgapi-mirror.sh %m',
      'refresh: :kill -HUP',
      'stop: :kill',
    ])
    const asked = [...script.matchAll(/svcprop -p (\w+)\/(\w+)/g)].map(([, group, name]) => `${group}/${name}`)
    expect(asked).toEqual(['application/config', 'application/node'])
    for (const each of asked) expect(text).toContain(`<propval name="${each.split('/')[1]}" type="astring"`)
    expect(Number(/name="stop".* timeout_seconds="(\d+)"/.exec(text)?.[1])).toBeGreaterThan(30)
  })
})

describe('the method for SMF', () => {
  it.skipIf(whyNoPrograms('shellcheck') !== undefined)('is a script that every POSIX shell understands', async () => {
    await expect(run('shellcheck', ['--shell=sh', method])).resolves.toMatchObject({ stdout: '' })
  })

  /** Runs it as SMF does, beside a stand-in of `svcprop` that knows these properties. */
  async function start(properties: Record<string, string>, args: readonly string[] = ['start'], fmri = 'svc:/site/x') {
    const directory = await temporaryDirectory()
    const answers = Object.entries(properties).map(([name, value]) => `application/${name}) echo '${value}' ;;`)
    await writeFile(join(directory, 'svcprop'), `#!/bin/sh\ncase $2 in\n${answers.join('\n')}\n*) exit 1 ;;\nesac\n`)
    await chmod(join(directory, 'svcprop'), 0o755)
    const environment = { PATH: `${directory}:${process.env.PATH}`, ...(fmri !== '' && { SMF_FMRI: fmri }) }
    // A contract of SMF is a process group here: what its signals go to.
    const child = spawn('sh', [method, ...args], {
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const lines = createInterface({ input: child.stdout })
    const said: string[] = []
    lines.on('line', (line) => said.push(line))
    // Both go into the service's log.
    child.stderr.on('data', (text) => said.push(String(text)))
    const ended = once(child, 'close')
    const [code] = (await once(child, 'exit')) as [number]
    return { code, said, ended, signal: (name: NodeJS.Signals) => process.kill(-child.pid!, name) }
  }

  async function configured(text: string): Promise<string> {
    const config = join(await temporaryDirectory(), 'config.yaml')
    await writeFile(config, `listen: 127.0.0.1:0\noperator: 127.0.0.1:0\ndata: ./data\nlog: {format: json}\n${text}`)
    return config
  }

  it('starts a mirror that reloads, and ends when it is told to', async () => {
    const config = await configured('missTtl: 10s\n')
    const { code, said, ended, signal } = await start({ config, node: process.execPath })
    let isRunning = true
    onTestFinished(() => {
      if (isRunning) signal('SIGKILL')
    })
    expect(code).toBe(0)
    // At once: whether it knows yet what that means or not, it is there afterwards.
    signal('SIGHUP')
    await expect.poll(() => said.join('\n'), { timeout: 20_000 }).toContain('clients: http')
    await writeFile(config, (await readFile(config, 'utf8')).replace('10s', '20s'))
    signal('SIGHUP')
    await expect.poll(() => said.join('\n'), { timeout: 10_000 }).toContain('changed: missTtl')
    signal('SIGTERM')
    await ended
    isRunning = false
    expect(said.at(-1)).toContain('closed')
  })

  it.each([
    ['a config file that is wrong', 'refesh: 10m\n', {}, 'did you mean refresh?'],
    ['a config file that is not there', undefined, {}, 'cannot be read'],
    ['a Node that is not there', '', { node: '/nowhere/node' }, 'is no program'],
  ])('leaves the service in maintenance for %s', async (_what, text, more, complaint) => {
    const config = text === undefined ? '/nowhere/config.yaml' : await configured(text)
    const { code, said, ended } = await start({ config, node: process.execPath, ...more })
    await ended
    expect(code, 'SMF_EXIT_ERR_CONFIG').toBe(96)
    expect(said.join('\n')).toContain(complaint)
  })

  it('refuses to be run by hand, or for anything but a start', async () => {
    expect((await start({}, ['stop'])).code, 'SMF_EXIT_ERR_FATAL').toBe(95)
    expect((await start({}, ['start'], '')).code).toBe(95)
  })
})
