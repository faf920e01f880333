import { cancelJob } from './cancel-job.js'
import type { Endpoint } from './define-endpoint.js'
import { followJob } from './follow-job.js'
import { getJob } from './get-job.js'
import { listJobs } from './list-jobs.js'

/** The operator API, whole: what is not here is not mounted, and not in docs/openapi.json. */
export const ENDPOINTS: readonly Endpoint[] = [listJobs, getJob, followJob, cancelJob]
