import { registerAdopt } from './adopt.js'
import { registerAncestry } from './ancestry.js'
import { registerAudit } from './audit.js'
import { registerAvail } from './avail.js'
import { registerBundles } from './bundles.js'
import type { Register } from './command.js'
import { registerCompletion } from './completion.js'
import { registerDelete } from './delete.js'
import { registerExplain } from './explain.js'
import { registerExport } from './export.js'
import { registerImport } from './import.js'
import { registerImportBundle } from './import-bundle.js'
import { registerInventory } from './inventory.js'
import { registerJobs } from './jobs.js'
import { registerList } from './list.js'
import { registerPin, registerUnpin } from './pin.js'
import { registerPlan } from './plan.js'
import { registerPrewarm } from './prewarm.js'
import { registerRefresh } from './refresh.js'
import { registerReload } from './reload.js'
import { registerScrub } from './scrub.js'
import { registerShow } from './show.js'
import { registerStatus } from './status.js'
import { registerUpstreams } from './upstreams.js'
import { registerVacuum } from './vacuum.js'
import { registerVerify } from './verify.js'

/** The commands that ask a running mirror, in the order in which help lists them; and what completes them all. */
export const COMMANDS: readonly Register[] = [
  registerStatus,
  registerUpstreams,
  registerExplain,
  registerAvail,
  registerList,
  registerShow,
  registerAncestry,
  registerImport,
  registerPlan,
  registerPrewarm,
  registerPin,
  registerUnpin,
  registerDelete,
  registerVacuum,
  registerVerify,
  registerScrub,
  registerRefresh,
  registerReload,
  registerJobs,
  registerAdopt,
  registerInventory,
  registerExport,
  registerImportBundle,
  registerBundles,
  registerAudit,
  registerCompletion,
]
