/** `POST /api/reload`: what of the configuration is another than before. Keys as the file has them: `refresh`, `upstreams: smartos`. */
export interface ReloadAnswer {
  /** In effect from now on. */
  readonly changed: readonly string[]
  /** In the file, but not in effect before the mirror is started anew. */
  readonly needsRestart: readonly string[]
}
