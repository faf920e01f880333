import { readFile } from 'node:fs/promises'
import { uptime } from 'node:os'

const BOOT_ID = /^[0-9a-f-]{36}$/
const BOOTED_AT = /^booted at (\d{1,12})$/
/** Clocks are set by less than this while a machine runs, and no machine is up again, and us with it, any faster. */
const TOLERANCE_SECONDS = 10

/**
 * Which start of the machine this is: what was written to a file earlier in the same one is in the file, synced or not,
 * however its writer ended. Linux gives every boot a name (proc(5), /proc/sys/kernel/random/boot_id); elsewhere the time
 * of the boot serves as one.
 */
export async function bootIdentity(): Promise<string> {
  const id = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  if (BOOT_ID.test(id.trim())) return id.trim()
  return `booted at ${Math.round(Date.now() / 1000 - uptime())}`
}

/** In doubt, no. */
export function isSameBoot(left: string, right: string): boolean {
  const [leftSeconds, rightSeconds] = [BOOTED_AT.exec(left)?.[1], BOOTED_AT.exec(right)?.[1]]
  if (leftSeconds === undefined || rightSeconds === undefined) return left === right
  return Math.abs(Number(leftSeconds) - Number(rightSeconds)) <= TOLERANCE_SECONDS
}
