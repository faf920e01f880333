import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { MirrorError } from '../../src/errors.js'
import { deferred } from '../../src/parts/deferred.js'
import { silentLog } from '../../src/parts/log.js'
import { DataDirectory, type Migration } from '../../src/store/data-directory.js'
import { nodeFileSystem } from '../../src/store/file-system.js'
import { openStore } from '../../src/store/open-store.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'

async function openAndClose(directory: string, migrations?: readonly Migration[]): Promise<void> {
  const options = {
    fileSystem: nodeFileSystem,
    log: silentLog,
    isForManyStarts: true,
    ...(migrations && { migrations }),
  }
  await (await DataDirectory.open(directory, options)).close()
}

describe('DataDirectory', () => {
  it('is made where there is none, with its parents, and names its format', async () => {
    const directory = join(await temporaryDirectory(), 'several', 'levels', 'down')
    await openAndClose(directory)
    expect(await fs.readFile(join(directory, 'FORMAT'), 'utf8')).toBe('imgapi-mirror data, format 1\n')
    await openAndClose(directory)
  })

  it('takes the root of a fresh file system', async () => {
    const directory = await temporaryDirectory()
    await fs.mkdir(join(directory, 'lost+found'))
    await openAndClose(directory)
  })

  it('is taken up where a crash left it before it had its FORMAT', async () => {
    const directory = await temporaryDirectory()
    const fileSystem = new FaultyFileSystem()
    fileSystem.before = (step) => {
      if (step === 'rename') throw systemError('EIO')
    }
    const opening = DataDirectory.open(directory, { fileSystem, log: silentLog })
    await expect(opening).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    await fs.writeFile(join(directory, 'partial', 'half'), 'a FORMAT')
    await openAndClose(directory)
    expect(await fs.readdir(join(directory, 'partial'))).toEqual([])
  })

  it('is refused when it holds what is not ours, and is left as it was', async () => {
    const directory = await temporaryDirectory()
    await fs.writeFile(join(directory, 'thesis.tex'), 'x')
    await expect(openAndClose(directory)).rejects.toMatchObject({
      code: 'STORE_UNUSABLE',
      message: expect.stringContaining('thesis.tex'),
    })
    expect(await fs.readdir(directory)).toEqual(['thesis.tex'])
  })

  it.each(['', 'hello', 'imgapi-mirror data, format x\n', 'imgapi-mirror data, format 1'])(
    'is refused when FORMAT says %j',
    async (text) => {
      const directory = await temporaryDirectory()
      await fs.writeFile(join(directory, 'FORMAT'), text)
      await expect(openAndClose(directory)).rejects.toMatchObject({
        code: 'STORE_UNUSABLE',
        message: expect.stringContaining(JSON.stringify(text)),
      })
    },
  )

  it('is refused when a newer release wrote it, naming both formats', async () => {
    const directory = await temporaryDirectory()
    await fs.writeFile(join(directory, 'FORMAT'), 'imgapi-mirror data, format 7\n')
    await expect(openAndClose(directory)).rejects.toMatchObject({
      code: 'STORE_UNUSABLE',
      message: expect.stringMatching(/format 7.*formats up to 1/),
    })
  })

  it('is brought up to date step by step, and goes on after the last step that was done', async () => {
    const directory = await temporaryDirectory()
    await openAndClose(directory)
    const done: string[] = []
    let isBroken = true
    const migrations: Migration[] = [
      async (path) => void done.push(`1 to 2 in ${path}`),
      async () => {
        if (isBroken) throw systemError('EIO')
        done.push('2 to 3')
      },
    ]
    await expect(openAndClose(directory, migrations)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    expect(await fs.readFile(join(directory, 'FORMAT'), 'utf8')).toContain('format 2')
    isBroken = false
    await openAndClose(directory, migrations)
    expect(done).toEqual([`1 to 2 in ${directory}`, '2 to 3'])
    expect(await fs.readFile(join(directory, 'FORMAT'), 'utf8')).toContain('format 3')
    await expect(openAndClose(directory)).rejects.toMatchObject({ code: 'STORE_UNUSABLE' })
  })

  it('says STORE_BROKEN, and which directory, when the disk refuses', async () => {
    const file = join(await temporaryDirectory(), 'file')
    await fs.writeFile(file, '')
    await expect(openAndClose(join(file, 'data'))).rejects.toMatchObject({
      code: 'STORE_BROKEN',
      message: expect.stringContaining(file),
    })
  })

  it('lets nobody else in while it is open, and everybody after', async () => {
    const directory = await temporaryDirectory()
    const store = await openStore({ directory, log: silentLog })
    const again = () => openStore({ directory, log: silentLog })
    await expect(again()).rejects.toMatchObject({ code: 'STORE_LOCKED', message: expect.stringContaining(directory) })
    await store.close()
    await (await again()).close()
  })

  it.each([
    [
      'a file of it has another byte',
      async (lock: string, name: string) => {
        const bytes = await fs.readFile(join(lock, name))
        bytes[Math.floor(bytes.length / 2)]! ^= 1
        await fs.writeFile(join(lock, name), bytes)
      },
    ],
    ['a file of it is gone', async (lock: string, name: string) => await fs.rm(join(lock, name))],
  ])('makes a damaged lock anew, as nothing is kept in it: %s', async (_what, damage) => {
    const directory = await temporaryDirectory()
    const lock = join(directory, 'lock')
    await openAndClose(directory)
    for (const pattern of [/^CURRENT$/, /^MANIFEST-/, /\.log$/]) {
      const name = (await fs.readdir(lock)).find((each) => pattern.test(each))
      if (name === undefined) continue
      await damage(lock, name)
      await openAndClose(directory)
    }
    expect(await fs.readFile(join(directory, 'FORMAT'), 'utf8')).toContain('format')
  })

  describe('beside another process', () => {
    /** Opens a store, says so, and waits to be ended. Says, too, when it is its own no more. */
    const program = `
      import { openStore } from ${JSON.stringify(new URL('../../src/store/open-store.ts', import.meta.url).href)}
      import { silentLog } from ${JSON.stringify(new URL('../../src/parts/log.ts', import.meta.url).href)}
      try {
        const onLost = (reason) => console.log(reason.message)
        await openStore({ directory: process.argv[1], log: silentLog, onLost })
        console.log('OPEN')
        setInterval(() => {}, 1000)
      } catch (error) {
        console.log(error.code)
      }
    `
    async function start(directory: string) {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program, directory], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      onTestFinished(() => void child.kill('SIGKILL'))
      const [said] = await once(child.stdout, 'data')
      return { child, said: String(said).trim() }
    }

    it('is refused by it, also when the index was deleted meanwhile, and free when it is killed', async () => {
      const directory = await temporaryDirectory()
      const { child, said } = await start(directory)
      expect(said).toBe('OPEN')
      await expect(openStore({ directory, log: silentLog })).rejects.toMatchObject({ code: 'STORE_LOCKED' })
      await fs.rm(join(directory, 'index'), { recursive: true })
      await expect(openStore({ directory, log: silentLog })).rejects.toMatchObject({ code: 'STORE_LOCKED' })
      child.kill('SIGKILL')
      await once(child, 'exit')
      await (await openStore({ directory, log: silentLog })).close()
    })

    it('is refused by it, also when the lock was deleted meanwhile', async () => {
      const directory = await temporaryDirectory()
      const { child } = await start(directory)
      await fs.rm(join(directory, 'lock'), { recursive: true })
      const log = new RecordingLog()
      await expect(openStore({ directory, log })).rejects.toMatchObject({ code: 'STORE_LOCKED' })
      expect(log.lines.map(({ message }) => message).join()).toContain('waiting for whoever may use the directory')
      child.kill('SIGKILL')
      await once(child, 'exit')
      await (await openStore({ directory, log })).close()
    })

    it('is told by it that its lock was deleted and taken, while it was stopped', async () => {
      const directory = await temporaryDirectory()
      const { child } = await start(directory)
      child.kill('SIGSTOP')
      await fs.rm(join(directory, 'lock'), { recursive: true })
      const store = await openStore({ directory, log: silentLog, isForManyStarts: true })
      child.kill('SIGCONT')
      const [said] = await once(child.stdout, 'data')
      expect(String(said)).toBe(`another process has taken data directory ${directory}, whose lock was deleted\n`)
      await store.close()
    })

    it('refuses it', async () => {
      const directory = await temporaryDirectory()
      const store = await openStore({ directory, log: silentLog })
      expect((await start(directory)).said).toBe('STORE_LOCKED')
      await store.close()
    })
  })
})

describe('a data directory in use', () => {
  const watched = async () => {
    const directory = join(await temporaryDirectory(), 'data')
    const lost = deferred<MirrorError>()
    const log = new RecordingLog()
    const store = await openStore({ directory, log, onLost: (reason) => lost.resolve(reason) })
    onTestFinished(() => store.close())
    return { directory, log, lost: lost.promise }
  }

  it('is locked anew when its lock was deleted', async () => {
    const { directory, log } = await watched()
    await fs.rm(join(directory, 'lock', 'LOCK'))
    await expect.poll(() => fs.readdir(join(directory, 'lock')), { timeout: 10_000 }).toContain('LOCK')
    await expect.poll(() => log.lines.map(({ message }) => message).join()).toContain('is locked anew')
  })

  it('is given up when another one stands in its place', async () => {
    const { directory, lost } = await watched()
    await fs.cp(directory, `${directory}-copy`, { recursive: true })
    await fs.rename(directory, `${directory}-before`)
    await fs.rename(`${directory}-copy`, directory)
    expect((await lost).message).toBe(`another directory stands in the place of data directory ${directory}`)
  })
})

describe('complaints of a data directory in use', () => {
  it('are none while it can be written, or the disk is only full', async () => {
    const path = join(await temporaryDirectory(), 'data')
    const fileSystem = new FaultyFileSystem()
    const data = await DataDirectory.open(path, { fileSystem, log: silentLog })
    onTestFinished(() => data.close())
    expect(await data.complaints()).toEqual([])
    expect(await fs.readdir(data.partial)).toEqual([])
    let code = 'ENOSPC'
    fileSystem.before = (step) => {
      if (step === 'file.write') throw systemError(code)
    }
    expect(await data.complaints()).toEqual([])
    code = 'EROFS'
    expect(await data.complaints()).toEqual([expect.stringMatching(/cannot be written: .*EROFS/)])
    fileSystem.before = () => {}
  })

  it('say that it is gone', async () => {
    const path = join(await temporaryDirectory(), 'data')
    const data = await DataDirectory.open(path, {
      fileSystem: nodeFileSystem,
      log: silentLog,
      isForManyStarts: true,
    })
    onTestFinished(() => data.close())
    await fs.rename(path, `${path}-elsewhere`)
    expect(await data.complaints()).toEqual([expect.stringContaining(path)])
    await fs.mkdir(path)
    expect(await data.complaints()).toEqual([`data directory ${path} is empty or gone`])
  })
})
