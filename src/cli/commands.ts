import type { Register } from './command.js'
import { registerJobs } from './jobs.js'
import { registerStatus } from './status.js'
import { registerUpstreams } from './upstreams.js'

/** The commands that ask a running mirror, in the order in which help lists them. */
export const COMMANDS: readonly Register[] = [registerStatus, registerUpstreams, registerJobs]
