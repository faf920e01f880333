import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { temporaryDirectory } from './support/temporary.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const FROM_SOURCE = [process.execPath, '--import', 'tsx', 'src/main.ts'] as const

interface Started {
  readonly child: ChildProcess
  /** Everything it has written, on both outputs. */
  readonly output: () => string
  /** Resolves once `text` has been written; rejects when the process ends without it. */
  readonly says: (text: string) => Promise<void>
  readonly ended: Promise<unknown[]>
}

function start([command, ...args]: readonly string[]): Started {
  const child = spawn(command!, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))

  const says = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => output.includes(text) && resolve()
      child.stdout.on('data', look)
      child.once('exit', () => reject(new Error(`ended without saying "${text}":\n${output}`)))
      look()
    })
  return { child, output: () => output, says, ended }
}

async function offlineConfig(more = ''): Promise<string> {
  const directory = await temporaryDirectory()
  const path = join(directory, 'config.yaml')
  await writeFile(path, `listen: 127.0.0.1:0\noperator: []\noffline: true\n${more}`)
  return path
}

describe('the process', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('closes in good order on %s', async (signal) => {
    const { child, ended, output, says } = start([...FROM_SOURCE, '--config', await offlineConfig()])
    await says('clients: http://127.0.0.1:')
    child.kill(signal)
    expect(await ended).toEqual([0, null])
    expect(output()).toContain('"msg":"closed"')
    // Whoever keeps the log has a head of the ledger in it, and by whose key.
    expect(output()).toMatch(/"hash":"[0-9a-f]{64}","signedBy":"[0-9A-F]{16}".*"msg":"the ledger has \d+ entries"/)
  })

  it('takes one Ctrl-C that arrives twice for one', async () => {
    const { child, ended, output, says } = start([...FROM_SOURCE, '--config', await offlineConfig()])
    await says('clients: ')
    child.kill('SIGINT')
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    expect(output()).toContain('"msg":"closed"')
  })

  it('reads its config again on SIGHUP, and keeps what it has when the new one is wrong', async () => {
    const path = await offlineConfig()
    const { child, ended, output, says } = start([...FROM_SOURCE, '--config', path])
    await says('clients: http://127.0.0.1:')
    await appendFile(path, 'refresh: 1h\n')
    child.kill('SIGHUP')
    await says('as SIGHUP wanted; changed: refresh')
    await appendFile(path, 'holdback: much\n')
    child.kill('SIGHUP')
    await says('the new configuration is refused')
    expect(output()).toContain('config.yaml:5:11: holdback: found \\"much\\"')
    const text = (await readFile(path, 'utf8')).replace('holdback: much', 'log: {level: debug}')
    await writeFile(path, '')
    child.kill('SIGHUP')
    await says('config.yaml: found nothing in it')
    await writeFile(path, text)
    child.kill('SIGHUP')
    await says('as SIGHUP wanted; changed: log.level')
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  })

  it('ends with 1 and says why when its config is wrong', async () => {
    const { ended, output } = start([...FROM_SOURCE, '--config', await offlineConfig('refesh: 1m')])
    expect(await ended).toEqual([1, null])
    expect(output()).toContain('config.yaml:4:1: refesh: found a key we do not know; did you mean refresh?')
  })

  it('ends with 1 and says why when what it has to say cannot be written, but not when its reader has enough', async () => {
    const shell = (line: string) => start(['bash', '-c', line.replace('US', FROM_SOURCE.join(' '))])
    const full = shell('US config example > /dev/full')
    expect(await full.ended).toEqual([1, null])
    expect(full.output()).toBe(
      'imgapi-mirror: the output could not be written: ENOSPC: no space left on device, write\n',
    )
    const read = shell('set -o pipefail; US config example | head -1')
    expect(await read.ended).toEqual([0, null])
  })

  it('ends with 2 when its command line means nothing', async () => {
    const { ended } = start([...FROM_SOURCE, '--confg', 'x'])
    expect(await ended).toEqual([2, null])
  })
})

describe('npm start', () => {
  it('hands signals on, and the exit code back', async () => {
    const { child, ended, output, says } = start(['npm', 'start', '--', '--config', await offlineConfig()])
    await says('clients: http://127.0.0.1:')
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
    expect(output()).toContain('"msg":"closed"')
  })
})
