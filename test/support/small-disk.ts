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

/** A stick, as small as that, that can be pulled out and put back with all that is on it. */
export async function mountStick(sizeMib: number) {
  const stick = await mountSmallDisk(sizeMib)
  const path = await fs.mkdtemp(join(tmpdir(), 'imgapi-mirror-stick-'))
  let isIn = false
  const putBack = () => {
    execFileSync('mount', ['--bind', stick, path], { stdio: 'pipe' })
    isIn = true
  }
  /** Whoever has a file of it open keeps that; all else is gone at once. */
  const pullOut = () => {
    execFileSync('umount', ['--lazy', path], { stdio: 'pipe' })
    isIn = false
  }
  putBack()
  onTestFinished(async () => {
    if (isIn) pullOut()
    await fs.rmdir(path)
  })
  return { path, pullOut, putBack }
}

function mount(path: string, sizeMib: number): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', path], { stdio: 'pipe' })
}
