import type { PlanAnswer, PlannedImageAnswer } from './prewarm-answers.js'

/** How many images a warning names. */
const NAMED = 3

/** What of a plan will not be as it is wished, in whole sentences: what could be done about it, too. */
export function warningsOf(plan: Omit<PlanAnswer, 'warnings'>): string[] {
  const warnings: string[] = []
  for (const { deadlineMs, name } of plan.policies) {
    const of = (outcome: PlannedImageAnswer['outcome']) =>
      plan.images.filter((image) => image.policy === name && image.outcome === outcome)
    const [late, never, noRoom, unavailable] = [of('late'), of('never'), of('no room'), of('not to be had')]
    const tooLate = deadlineMs === null ? late : [...late, ...never]
    if (tooLate.length > 0) {
      warnings.push(
        `${name}: ${countOf(tooLate)} cannot be here by the deadline, ${isoMinute(deadlineMs!)}: ${named(tooLate)}. ` +
          'All others are fetched before; it would take a higher rate, longer windows, a larger budget, or to want fewer.',
      )
    }
    if (deadlineMs === null && never.length > 0) {
      warnings.push(`${name}: ${countOf(never)} would not be here within a year: ${named(never)}.`)
    }
    if (noRoom.length > 0) {
      warnings.push(
        `${name}: ${countOf(noRoom)} do not fit beside what is worth more or pinned, and are left out: ${named(noRoom)}.`,
      )
    }
    if (unavailable.length > 0) {
      warnings.push(`${name}: ${countOf(unavailable)} cannot be had: ${named(unavailable)} (${unavailable[0]!.why}).`)
    }
  }
  if (plan.images.length === 0) warnings.push('Nothing that upstreams list is wanted.')
  if (!plan.isTimed) warnings.push('Some lines have no rate, so nobody can say how long they take: plan with --rate.')
  return warnings
}

function countOf(images: readonly unknown[]): string {
  return images.length === 1 ? '1 image' : `${images.length} images`
}

function named(images: readonly PlannedImageAnswer[]): string {
  const names = images.slice(0, NAMED).map(({ name, version }) => `${name} ${version}`)
  const more = images.length - names.length
  return `${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

function isoMinute(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16)}Z`
}
