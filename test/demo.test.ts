import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

function startDemo(...args: string[]) {
  const child = spawn(process.execPath, [join(root, 'scripts', 'demo.mjs'), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGTERM'))
  return { child, ended: once(child, 'exit') }
}

function directoryIn(output: string): string {
  return /in\s+(\/\S+),\s+until/.exec(output)![1]!
}

async function isAnswering(url: string): Promise<boolean> {
  return await fetch(url).then(
    () => true,
    () => false,
  )
}

describe('the demo', () => {
  it('shows every step, ends by itself, and leaves nothing behind', async () => {
    const { child, ended } = startDemo()
    const output = await text(child.stdout)
    expect(await ended).toEqual([0, null])

    // One dead upstream; everything of the others is listed.
    expect(output).toMatch(/gone +failing +0/)
    expect(output).toContain('< 200 {"ping":"pong"')
    expect(output).toContain('< 200 5 images')
    // An import of a chain, and again with all upstreams stopped.
    for (const image of ['web-shop 1.3.0: 1.00 MiB', 'postgresql 17.2.0: 2.00 MiB', 'base 24.4.1: 3.00 MiB']) {
      expect(output.match(new RegExp(`< 200 ${image} in \\d+ ms, sha1 ok`, 'g'))).toHaveLength(2)
    }
    expect(output).toMatch(/vendor +failing +3/)
    expect(output).toContain('The vendor was asked for it once.')
    // The lie stops short of its length, and is told.
    const [, promised, received] = /Content-Length: (\d+)\n.*ends after (\d+) bytes/.exec(output)!
    expect(Number(received)).toBeLessThan(Number(promised))
    expect(output).toContain('is not what was')
    // Blobs by hand.
    const names = [...output.matchAll(/name {6}([0-9a-f]{64})\n +sha256(?:sum)? +([0-9a-f]{64})/g)]
    expect(names).toHaveLength(5)
    for (const [, name, measured] of names) expect(measured).toBe(name)

    expect(output.split('\n').filter((line) => line.length > 80)).toEqual([])
    expect(output).not.toContain('\x1b')
    expect(existsSync(directoryIn(output))).toBe(false)
    for (const [url] of output.matchAll(/http:\/\/127\.0\.0\.1:\d+/g)) expect(await isAnswering(url)).toBe(false)
  })

  it('stays up when asked to, with every upstream back, and cleans up on Ctrl-C', async () => {
    const { child, ended } = startDemo('--keep')
    let output = ''
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      output += chunk
      if (output.includes('Ctrl-C ends everything')) break
    }
    const mirror = /M=(\S+)/.exec(output)![1]!
    expect(await (await fetch(`${mirror}/images`)).json()).toHaveLength(5)
    const vendor = /vendor #.*\n.*url: (\S+)/.exec(output)![1]!
    expect((await fetch(`${vendor}/ping`)).status).toBe(200)

    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    expect(existsSync(directoryIn(output))).toBe(false)
    expect(await isAnswering(mirror)).toBe(false)
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('cleans up when %s ends it half way', async (signal) => {
    const { child, ended } = startDemo()
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      output += chunk
      if (output.includes('imgadm avail') && !child.killed) child.kill(signal)
    })
    expect(await ended).toEqual([signal === 'SIGINT' ? 130 : 143, null])
    expect(output).not.toContain('All upstreams stop')
    expect(existsSync(directoryIn(output))).toBe(false)
    expect(await isAnswering(/sources -a (\S+)/.exec(output)![1]!)).toBe(false)
  })

  it('refuses options it does not know', async () => {
    const { ended } = startDemo('--keeep')
    expect(await ended).toEqual([2, null])
  })
})
