import type { Goal, PlanQuestion, WantedFile } from '../../../src/mirror/prewarming/plan.js'
import type { RateLimit, RatePlan } from '../../../src/parts/rate-plan.js'

const MINUTE_MS = 60_000
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

interface Wish {
  readonly goal: Goal
  readonly uuid: string
  readonly files: readonly WantedFile[]
  outcome: 'held' | 'comes' | 'late' | 'no room' | 'not to be had' | undefined
  doneMs: number | undefined
  isPutBack: boolean
  isJudged: boolean
}

/**
 * What `makePlan` answers, found by living through every minute: for each, the calendar is asked what the clocks show, every
 * window is looked at, and every image from the first on, whether it may go on now. Knows nothing of how plans are made.
 */
export function planByLiving(question: PlanQuestion, mostMinutes: number) {
  const { goals, lines, nowMs, roomBytes = Number.POSITIVE_INFINITY, staying } = question
  const wishes = goals.flatMap((goal) =>
    goal.images.map(
      ({ files, obstacle, uuid }): Wish => ({
        goal,
        uuid,
        files,
        outcome: obstacle === undefined ? undefined : 'not to be had',
        doneMs: undefined,
        isPutBack: false,
        isJudged: false,
      }),
    ),
  )
  const inside = new Map(staying)
  for (const wish of wishes) {
    if (wish.outcome) continue
    const after = new Map(inside)
    for (const { key, sizeBytes } of wish.files) after.set(key, sizeBytes)
    const sum = [...after.values()].reduce((total, size) => total + size, 0)
    if (after.size > inside.size && sum > roomBytes) wish.outcome = 'no room'
    else for (const { key, sizeBytes } of wish.files) inside.set(key, sizeBytes)
    if (!wish.outcome && wish.files.every(({ missingBytes }) => missingBytes === 0)) wish.outcome = 'held'
  }
  const putBack: Wish[] = []
  const active = wishes.filter(({ outcome }) => outcome === undefined)
  const missing = new Map<string, number>()
  for (const { files } of active) for (const { key, missingBytes } of files) missing.set(key, missingBytes)
  const isHere = ({ key }: WantedFile, left: ReadonlyMap<string, number> = missing) => left.get(key) === 0
  let pending = active
  const budgets = new Map(goals.map((goal) => [goal, goal.terms.budget?.leftBytes ?? Number.POSITIVE_INFINITY]))

  const rateAt = (goal: Goal, file: WantedFile, minuteMs: number): number => {
    const total = limitOf(lines.total, minuteMs)
    if (total === 'closed' || limitOf(goal.terms.hours, minuteMs) === 'closed') return 0
    for (const name of file.offeredBy) {
      const limit = limitOf(lines.upstreams.get(name)!, minuteMs)
      if (limit !== 'closed') return Math.min(inBytes(limit), inBytes(total))
    }
    return 0
  }
  const renew = (left: Map<Goal, number>, goal: Goal, minuteMs: number) => {
    const { budget } = goal.terms
    if (!budget || minuteMs <= nowMs) return
    const [isOpen, wasOpen] = [minuteMs, minuteMs - MINUTE_MS].map((ms) => limitOf(budget.renewal, ms) !== 'closed')
    if (isOpen && !wasOpen) left.set(goal, budget.bytes)
  }
  const isInTime = ({ files, goal }: Wish, fromMs: number): boolean => {
    const { deadlineMs = Number.POSITIVE_INFINITY } = goal.terms
    if (deadlineMs === Number.POSITIVE_INFINITY) return true
    const left = new Map(files.map(({ key }) => [key, missing.get(key)!]))
    const purse = new Map(budgets)
    for (let atMs = fromMs; atMs <= deadlineMs; ) {
      const minuteMs = Math.floor(atMs / MINUTE_MS) * MINUTE_MS
      if (atMs === minuteMs && atMs > fromMs) renew(purse, goal, minuteMs)
      const file = files.find((each) => !isHere(each, left))
      if (!file) return true
      const rate = purse.get(goal)! > 0 ? rateAt(goal, file, minuteMs) : 0
      const bytes = Math.min(left.get(file.key)!, purse.get(goal)!)
      const tookMs = rate > 0 ? (bytes / rate) * 1000 : Number.POSITIVE_INFINITY
      const leftMs = minuteMs + MINUTE_MS - atMs
      const came = tookMs <= leftMs ? bytes : (rate * leftMs) / 1000
      left.set(file.key, left.get(file.key)! - came)
      purse.set(goal, purse.get(goal)! - came)
      atMs = tookMs <= leftMs ? atMs + tookMs : minuteMs + MINUTE_MS
    }
    return false
  }

  for (let minuteMs = nowMs; minuteMs < nowMs + mostMinutes * MINUTE_MS; minuteMs += MINUTE_MS) {
    for (const goal of goals) renew(budgets, goal, minuteMs)
    if (pending.length === 0) break
    for (let atMs = minuteMs; atMs < minuteMs + MINUTE_MS; ) {
      const canGoOn = (wish: Wish) => {
        const file = wish.files.find((each) => !isHere(each))
        return file !== undefined && budgets.get(wish.goal)! > 0 && rateAt(wish.goal, file, minuteMs) > 0
      }
      const judged = () => {
        for (;;) {
          const wish = pending.find((each) => !each.isPutBack && canGoOn(each))
          if (!wish || wish.isJudged || isInTime(wish, atMs)) return wish
          wish.isPutBack = true
          putBack.push(wish)
        }
      }
      const wish = judged() ?? putBack.find(canGoOn)
      if (!wish) break
      wish.isJudged = true
      const file = wish.files.find((each) => !isHere(each))!
      const rate = rateAt(wish.goal, file, minuteMs)
      const bytes = Math.min(missing.get(file.key)!, budgets.get(wish.goal)!)
      const tookMs = (bytes / rate) * 1000
      const leftMs = minuteMs + MINUTE_MS - atMs
      const came = tookMs <= leftMs ? bytes : (rate * leftMs) / 1000
      missing.set(file.key, missing.get(file.key)! - came)
      budgets.set(wish.goal, budgets.get(wish.goal)! - came)
      atMs += Math.min(tookMs, leftMs)
      if (!isHere(file)) continue
      for (const each of pending) if (each.files.every((one) => isHere(one))) each.doneMs = atMs
      pending = pending.filter(({ doneMs }) => doneMs === undefined)
    }
  }
  for (const wish of active) {
    const { deadlineMs = Number.POSITIVE_INFINITY } = wish.goal.terms
    if (wish.doneMs !== undefined) wish.outcome = wish.doneMs > deadlineMs ? 'late' : 'comes'
  }
  return wishes
}

function inBytes(limit: RateLimit): number {
  if (limit === 'closed') return 0
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : limit
}

const formats = new Map<string, Intl.DateTimeFormat>()
const shown = new Map<string, { day: number; minute: number }>()

/** What the clock on the wall says, asked of the calendar for every minute by itself. */
function wallClock(timeZone: string, ms: number): { day: number; minute: number } {
  const known = shown.get(`${timeZone} ${ms}`)
  if (known) return known
  const format =
    formats.get(timeZone) ??
    new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    })
  formats.set(timeZone, format)
  const parts = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]))
  const time = { day: DAYS.indexOf(parts.weekday!), minute: Number(parts.hour) * 60 + Number(parts.minute) }
  shown.set(`${timeZone} ${ms}`, time)
  return time
}

function limitOf(plan: RatePlan, ms: number): RateLimit {
  if (plan.windows.length === 0) return plan.otherwise
  const { day, minute } = wallClock(plan.timezone, ms)
  for (const { days, endMinute, limit, startMinute } of plan.windows) {
    const isTonight = days.includes(day) && minute >= startMinute && (startMinute > endMinute || minute < endMinute)
    const isSinceYesterday = days.includes((day + 6) % 7) && startMinute > endMinute && minute < endMinute
    if (isTonight || isSinceYesterday) return limit
  }
  return plan.otherwise
}
