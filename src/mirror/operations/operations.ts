import type { Uuid } from '../../images/uuid.js'
import type { Jobs } from '../jobs.js'
import type { MirrorStatus } from '../mirror.js'
import type { Adoption } from './adoption.js'
import type { Auditing } from './auditing.js'
import type { AwaitedView, Explanation } from './explanation.js'
import type { KnownImages } from './known-images.js'
import type { Pins } from './pins.js'
import type { Prewarms } from './prewarms.js'
import type { Pulls } from './pulls.js'
import type { ReloadAnswer } from './reload-answer.js'
import type { Removals } from './removals.js'
import type { UpstreamQuestions } from './upstream-questions.js'
import type { Verification } from './verification.js'

/** What operators may have done, beyond looking at how things are. Answers are plain JSON: ms since 1970, uuids, null for absent. */
export interface Operations extends MirrorOperations {
  /**
   * Reads the configuration again, and goes by it from now on; what is under way goes on.
   * @throws MirrorError CONFIG_INVALID with everything that is wrong, and everything stays as it was.
   */
  reload(operator: Pick<Operator, 'name'>): Promise<ReloadAnswer>
}

/** Those of them that the mirror has done itself. */
export interface MirrorOperations {
  /** What is going on. */
  status(): MirrorStatus
  /** Has `status` say what the disk has free now. */
  lookAtDisk(): Promise<void>
  readonly jobs: Jobs
  readonly auditing: Auditing
  readonly images: KnownImages
  readonly pins: Pins
  readonly pulls: Pulls
  readonly prewarms: Prewarms
  readonly removals: Removals
  readonly verification: Verification
  readonly adoption: Adoption
  readonly upstreams: UpstreamQuestions
  /**
   * Why an image is answered as it is: of a uuid, a name, name@version, or the repository:tag of a Docker image.
   * @throws MirrorError QUERY_INVALID.
   */
  explain(what: string, signal: AbortSignal, awaitedOf?: (uuid: Uuid) => readonly AwaitedView[]): Promise<Explanation>
}

/** Who asks for something to be done. */
export interface Operator {
  /** For the log, the audit and pins. */
  readonly name: string
  /** On this machine, by loopback or a unix socket: only such may name paths on its disks. */
  readonly isLocal: boolean
}
