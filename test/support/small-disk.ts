import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Whether we may mount a disk: only root may. */
export const canMount = await (async () => {
  const path = await fs.mkdtemp(join(tmpdir(), 'imgapi-mirror-disk-'))
  try {
    mount(path, 1)
    execFileSync('umount', [path])
    return true
  } catch {
    return false
  } finally {
    await fs.rmdir(path)
  }
})()
if (!canMount) console.warn('SKIPPED: a small disk can only be mounted by root; nothing is proved about full disks')

/** A disk of its own, as small as that, unmounted when the test has finished. */
export async function mountSmallDisk(sizeMib: number): Promise<string> {
  const path = await fs.mkdtemp(join(tmpdir(), 'imgapi-mirror-disk-'))
  mount(path, sizeMib)
  onTestFinished(async () => {
    execFileSync('umount', [path])
    await fs.rmdir(path)
  })
  return path
}

function mount(path: string, sizeMib: number): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', path], { stdio: 'pipe' })
}
