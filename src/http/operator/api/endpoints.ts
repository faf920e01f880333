import { adopt } from './adopt.js'
import { auditCompare } from './audit-compare.js'
import { auditSignHead } from './audit-head.js'
import { auditLog } from './audit-log.js'
import { getAuditReport } from './audit-report.js'
import { auditVerify } from './audit-verify.js'
import { cancelJob } from './cancel-job.js'
import { checkUpstreams } from './check-upstreams.js'
import type { Endpoint } from './define-endpoint.js'
import { explain } from './explain.js'
import { exportBundle } from './export-bundle.js'
import { followJob } from './follow-job.js'
import { forgetBundle } from './forget-bundle.js'
import { getInventory } from './get-inventory.js'
import { getJob } from './get-job.js'
import { getStatus } from './get-status.js'
import { importBundles } from './import-bundles.js'
import { importImages } from './import-images.js'
import { listAllImages } from './list-all-images.js'
import { listBundles } from './list-bundles.js'
import { listJobs } from './list-jobs.js'
import { pinImage } from './pin-image.js'
import { plan } from './plan.js'
import { planExport } from './plan-export.js'
import { prewarmNow } from './prewarm-now.js'
import { refresh } from './refresh.js'
import { reload } from './reload.js'
import { removeImage } from './remove-image.js'
import { requestBundles } from './request-bundles.js'
import { scrub } from './scrub.js'
import { showAncestry } from './show-ancestry.js'
import { showImage } from './show-image.js'
import { showPrewarming } from './show-prewarming.js'
import { unpinImage } from './unpin-image.js'
import { vacuum } from './vacuum.js'
import { verifyImages } from './verify-images.js'

/** The operator API, whole: what is not here is not mounted, and not in docs/openapi.json. */
export const ENDPOINTS: readonly Endpoint[] = [
  getStatus,
  listJobs,
  getJob,
  followJob,
  cancelJob,
  listAllImages,
  showImage,
  showAncestry,
  importImages,
  pinImage,
  unpinImage,
  removeImage,
  vacuum,
  plan,
  showPrewarming,
  prewarmNow,
  verifyImages,
  scrub,
  refresh,
  checkUpstreams,
  adopt,
  importBundles,
  listBundles,
  forgetBundle,
  auditVerify,
  getAuditReport,
  auditCompare,
  auditSignHead,
  auditLog,
  explain,
  reload,
  getInventory,
  planExport,
  exportBundle,
  requestBundles,
]
