import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, existsSync } from 'node:fs'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Why real ZFS cannot be had here, or `undefined` when it can. */
export function whyNoZfs(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may run zfs-fuse'
  if (!existsSync('/dev/fuse')) return '/dev/fuse is missing'
  if (spawnSync('which', ['zfs-fuse']).status !== 0) return "Debian's package zfs-fuse is not installed"
  return undefined
}

/** A pool of its own in a file, under a daemon of its own unless one runs already. */
export class ZfsPool {
  static async create(directory: string): Promise<ZfsPool> {
    const daemon = await startDaemon()
    const name = `imt${process.pid}x${Math.floor(Math.random() * 1e6)}`
    const disk = join(directory, 'disk.img')
    const mountpoint = join(directory, 'mnt')
    await mkdir(mountpoint, { recursive: true })
    await writeFile(disk, '')
    await truncate(disk, 256 * 1024 * 1024)
    await run('zpool', ['create', '-m', mountpoint, name, disk])
    return new ZfsPool(name, mountpoint, daemon)
  }

  private constructor(
    readonly name: string,
    readonly mountpoint: string,
    private readonly daemon: { end(): Promise<void> },
  ) {}

  /** Where a dataset's files are. */
  directoryOf(dataset: string): string {
    return join(this.mountpoint, dataset)
  }

  async zfs(...args: string[]): Promise<string> {
    return (await run('zfs', args, { maxBuffer: 64 * 1024 * 1024 })).stdout
  }

  /** `zfs send`, incremental when `from` is given; piped through `compress` if that is given. Answers the stream's bytes. */
  async send(snapshot: string, options: { from?: string; compress?: 'gzip' | 'xz' } = {}): Promise<Buffer> {
    const from = options.from ? `-i ${this.name}/${options.from}` : ''
    const pipe = options.compress ? `| ${options.compress} -c` : ''
    const command = `set -o pipefail; zfs send ${from} ${this.name}/${snapshot} ${pipe}`
    const { stdout } = await run('bash', ['-c', command], { encoding: 'buffer', maxBuffer: 256 * 1024 * 1024 })
    return stdout
  }

  /** As imgadm does it: decompress, and receive into a dataset; an incremental stream finds its origin by itself. */
  async receive(file: string, dataset: string, compression: 'gzip' | 'xz' | 'none'): Promise<void> {
    const unpack = { gzip: 'gzip -dc', xz: 'xz -dc', none: 'cat' }[compression]
    const child = spawn('bash', ['-c', `set -o pipefail; ${unpack} | zfs receive ${this.name}/${dataset}`], {
      stdio: ['pipe', 'inherit', 'pipe'],
    })
    let complaint = ''
    child.stderr.on('data', (text) => {
      complaint += text
    })
    createReadStream(file).pipe(child.stdin)
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`zfs receive of ${dataset} failed: ${complaint}`)
  }

  async destroy(): Promise<void> {
    // The daemon lets go of a mount a moment after its last reader has.
    for (let tries = 1; ; tries++) {
      const failure = await run('zpool', ['destroy', '-f', this.name]).catch((error) => error)
      if (!(failure instanceof Error)) break
      if (tries === 50) throw failure
      await wait(100)
    }
    await this.daemon.end()
  }
}

/** zfs-fuse allows one daemon on a machine; one that is there is used and left alone. */
async function startDaemon(): Promise<{ end(): Promise<void> }> {
  if (await isDaemonUp()) return { end: async () => {} }
  const child = spawn('zfs-fuse', ['-n'], { stdio: 'ignore' })
  while (!(await isDaemonUp())) {
    if (child.exitCode !== null) throw new Error(`zfs-fuse ended with ${child.exitCode}`)
    await wait(50)
  }
  return {
    async end() {
      child.kill('SIGTERM')
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}

async function isDaemonUp(): Promise<boolean> {
  return await run('zpool', ['list']).then(
    () => true,
    () => false,
  )
}
