import { spawnSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'

/** Where the figures come from: whoever compares them must know. One line each. */
export function describeMachine(directory: string): readonly string[] {
  const [cpu] = cpus()
  const { bavail, bsize } = statfsSync(directory)
  return [
    `processor: ${cpu?.model.trim() ?? 'unknown'}, ${availableParallelism()} cores`,
    `memory: ${gib(totalmem())}; disk: ${fileSystemOf(directory)}, ${gib(bavail * bsize)} free`,
    `system: Linux ${release()}, Node ${process.version}`,
    `rivals: ${[versionOf('nginx', ['-v']), versionOf('docker-registry', ['--version']), versionOf('curl', ['--version'])].join('; ')}`,
  ]
}

/** Of the last minute; more than there are cores means that figures are not worth much. */
export function loadNow(): string {
  return loadavg()[0]!.toFixed(1)
}

/** Processor time of all cores so far, in ms: spent, and in all. */
export function processorTimes(): { readonly busyMs: number; readonly totalMs: number } {
  const times = cpus().map(({ times }) => times)
  const totalMs = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0)
  return { busyMs: totalMs - times.reduce((sum, { idle }) => sum + idle, 0), totalMs }
}

/** Servers live in sbin, which is not on everybody's path. */
export const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }

export function isInstalled(command: string): boolean {
  return spawnSync('which', [command], { env: ENVIRONMENT }).status === 0
}

function versionOf(command: string, args: readonly string[]): string {
  const { stdout, stderr, error } = spawnSync(command, args, { env: ENVIRONMENT, encoding: 'utf8' })
  if (error) return `${command} not at hand`
  const version = /\d+\.\d+(?:\.\d+)?/.exec(stdout + stderr)?.[0]
  return `${command} ${version ?? 'of an unknown version'}`
}

function fileSystemOf(directory: string): string {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
  const above = mounts.filter(([, at = '']) => at === '/' || directory === at || directory.startsWith(`${at}/`))
  const [device, , kind] = above.sort(([, left = ''], [, right = '']) => right.length - left.length)[0] ?? []
  return `${kind ?? 'unknown'} on ${device ?? 'unknown'}`
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(0)} GiB`
}
