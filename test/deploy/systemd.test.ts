import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { whyNoPrograms } from '../support/programs.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..', '..')
const shipped = join(root, 'deploy', 'systemd', 'imgapi-mirror.service')

/** What systemd calls the exposure of a service, in tenths: 100 is a program that may do anything. */
const MOST_EXPOSED = 12

const reason = whyNoPrograms('systemd-analyze')

describe.skipIf(reason !== undefined)(`the unit for systemd${reason ? ` (${reason})` : ''}`, () => {
  it('is one that systemd understands', async () => {
    const unit = join(await temporaryDirectory(), 'imgapi-mirror.service')
    // The program is not installed here, and Node may lie elsewhere.
    await writeFile(unit, (await readFile(shipped, 'utf8')).replaceAll('/usr/bin/node', process.execPath))
    const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', unit])
    expect(stdout + stderr).not.toContain('imgapi-mirror')
  })

  it('lets the service do little more than it needs', async () => {
    const args = ['security', '--offline=true', '--no-pager', `--threshold=${MOST_EXPOSED}`, shipped]
    await expect(run('systemd-analyze', args)).resolves.toMatchObject({
      stdout: expect.stringContaining('Overall exposure level'),
    })
  })

  it.skipIf(whyNoPrograms('strace') !== undefined)('admits every system call of a mirror at work', async () => {
    const directory = await temporaryDirectory()
    const image = makeImage({}, randomBytes(3_000_000))
    const upstream = await startUpstream({ images: [image] })
    const settings = { upstreams: [{ name: 'central', url: upstream.url }], scrub: { every: '1s' } }
    const calls = join(directory, 'calls')
    const mirror = await MirrorProcess.start(directory, settings, {
      within: ['strace', '-D', '-f', '-qq', '-c', '-o', calls],
    })
    for (const _time of ['fetched', 'held']) {
      const answer = await fetch(`${mirror.url}/images/${uuidOf(image)}/file`)
      expect((await answer.arrayBuffer()).byteLength).toBe(3_000_000)
    }
    expect((await fetch(`${mirror.operatorUrl}/api/reload`, { method: 'POST' })).status).toBe(200)
    expect(await mirror.stop()).toBe(0)

    let table = ''
    await expect.poll(async () => (table = await readFile(calls, 'utf8').catch(() => ''))).toContain('total')
    const used = [...table.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +\d+ +(?:\d+ +)?([a-z]\w*)$/gm)].map(([, name]) => name!)
    expect(used).toEqual(expect.arrayContaining(['openat', 'fsync', 'accept4', 'rename']))
    const [, taken, refused] = /^SystemCallFilter=(@.*)\nSystemCallFilter=~(.*)$/m.exec(
      await readFile(shipped, 'utf8'),
    )!
    const admitted = await callsIn(...taken!.split(' '))
    for (const name of await callsIn(...refused!.split(' '))) admitted.delete(name)
    expect(used.filter((name) => name !== 'total' && !admitted.has(name))).toEqual([])
  })

  it('reloads, logs and keeps where the documents say', async () => {
    const text = await readFile(shipped, 'utf8')
    expect(text).toMatch(/^ExecReload=\/bin\/kill -HUP \$MAINPID$/m)
    expect(text).toMatch(/^ExecStart=\S+ \/opt\/imgapi-mirror\/dist\/main\.js serve --config \S+$/m)
    expect(text).toMatch(/^StateDirectory=imgapi-mirror$/m)
    expect(text).not.toMatch(/^Standard(Output|Error)=/m)
    expect(text).not.toMatch(/^MemoryDenyWriteExecute=yes/m)
  })
})

/** The system calls of these sets, and of the sets in them, as this systemd knows them. */
async function callsIn(...sets: readonly string[]): Promise<Set<string>> {
  const calls = new Set<string>()
  for (const set of sets) {
    const { stdout } = await run('systemd-analyze', ['syscall-filter', '--no-pager', set])
    const names = stdout.split('\n').flatMap((line) => /^ {4}([@a-z]\w*(?:-\w+)*)$/.exec(line)?.[1] ?? [])
    for (const name of names) {
      if (!name.startsWith('@')) calls.add(name)
      else for (const inner of await callsIn(name)) calls.add(inner)
    }
  }
  return calls
}
