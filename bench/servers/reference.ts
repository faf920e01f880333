/** Other servers of images, where their code is at hand; `undefined` where not. */
export interface Reference {
  /** Directory of a built sdc-imgapi. */
  readonly sdcImgapi: string | undefined
  /** The node that runs it, which is old. Without it, ours. */
  readonly sdcImgapiNode: string | undefined
  /** A built dsapid. */
  readonly dsapid: string | undefined
}
