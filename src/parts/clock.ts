import { pause } from './pause.js'

/** Time, handed in so that a test can make an hour pass at once. */
export interface Clock {
  /** Since 1970, as calendars count. It may jump when somebody sets it. */
  wallMs(): number
  /** Since any moment. It only ever goes on, and is what spans are measured with. */
  steadyMs(): number
  /** Waits; rejects with the signal's reason as soon as it aborts. */
  pause(ms: number, signal: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  steadyMs: () => performance.now(),
  pause,
}
