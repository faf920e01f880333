import type { Register } from './command.js'
import { registerCompletion } from './completion.js'
import { registerJobs } from './jobs.js'
import { registerStatus } from './status.js'
import { registerUpstreams } from './upstreams.js'

/** The commands that ask a running mirror, in the order in which help lists them; and what completes them all. */
export const COMMANDS: readonly Register[] = [registerStatus, registerUpstreams, registerJobs, registerCompletion]
