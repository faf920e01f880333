const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** `1.4 GiB`: three digits at most, which is what people compare by. */
export function formatSize(bytes: number): string {
  let [amount, unit] = [bytes, 0]
  // 1023.6 KiB would be written as 1024.
  while (amount >= 999.5 && unit < UNITS.length - 1) [amount, unit] = [amount / 1024, unit + 1]
  const digits = unit === 0 || amount >= 99.95 ? 0 : 1
  return `${amount.toFixed(digits)} ${UNITS[unit]}`
}

/** `2d 3h`, `4m 10s`, `0s`: the two largest units. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, Math.round(durationMs / SECOND_MS) * SECOND_MS)
  const parts = [
    [Math.floor(ms / DAY_MS), 'd'],
    [Math.floor((ms % DAY_MS) / HOUR_MS), 'h'],
    [Math.floor((ms % HOUR_MS) / MINUTE_MS), 'm'],
    [Math.floor((ms % MINUTE_MS) / SECOND_MS), 's'],
  ] as const
  const first = parts.findIndex(([amount]) => amount > 0)
  if (first === -1) return '0s'
  const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0)
  return shown.map(([amount, unit]) => `${amount}${unit}`).join(' ')
}

/** `2024-05-06T07:08:09Z`, or `undefined` of nothing. */
export function formatTime(ms: number | null): string | undefined {
  return ms === null ? undefined : `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** `2024-05-06 07:08Z`, the minute that is not too early; `undefined` of nothing. */
export function formatMinute(ms: number | null): string | undefined {
  if (ms === null) return undefined
  const minute = new Date(Math.ceil(ms / MINUTE_MS) * MINUTE_MS).toISOString()
  return `${minute.slice(0, 16).replace('T', ' ')}Z`
}

/** `3m 4s ago`, or `in 2h 5m`. */
export function formatAgo(ms: number, nowMs: number = Date.now()): string {
  const agoMs = nowMs - ms
  if (Math.abs(agoMs) < SECOND_MS) return 'now'
  return agoMs > 0 ? `${formatDuration(agoMs)} ago` : `in ${formatDuration(-agoMs)}`
}
