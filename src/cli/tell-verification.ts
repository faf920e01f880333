import type { JobDetails } from '../mirror/jobs.js'
import type { VerificationResult } from '../mirror/operations/verification.js'
import { type CommandSurroundings, FAILED } from './command.js'
import { countOf } from './facts.js'

/** Says what reading again has found. What is damaged and stays so is a failure. */
export function tellVerification(
  job: JobDetails,
  { json }: { readonly json?: true | undefined },
  { exitWith, write }: CommandSurroundings,
): void {
  const { damaged, good, mended, otherDamage } = job.result as VerificationResult
  if (damaged > 0) exitWith(FAILED)
  if (json) return
  const found = [
    `${countOf(good, 'file')} good`,
    `${mended} mended`,
    `${damaged} damaged`,
    ...(otherDamage > 0 ? [`${countOf(otherDamage, 'other thing')} damaged, which the log names`] : []),
  ]
  write(`${found.join(', ')}\n`)
}
