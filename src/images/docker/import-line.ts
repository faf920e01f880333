import type { JsonObject } from '../../parts/json-object.js'

/** How far a layer is that is being brought here, in bytes; `start` in seconds since 1970. */
export interface LayerProgress {
  readonly current: number
  readonly total: number
  readonly start: number
}

/**
 * One line of what is told of an import of a Docker image, in the words of the wire: sdc-docker reads them and hands them on to docker.
 * Source: sdc-imgapi, lib/docker.js, `adminImportDockerImage`.
 */
export type ImportLine =
  | {
      readonly type: 'status'
      readonly payload: { readonly status: string; readonly id?: string; readonly progressDetail?: object }
    }
  | {
      readonly type: 'progress'
      readonly payload: { readonly id: string; readonly status: string; readonly progressDetail?: LayerProgress }
    }
  | {
      readonly type: 'create-docker-image'
      readonly config_digest: string
      readonly head: true
      readonly image: JsonObject
      readonly image_uuid: string
      readonly manifest_digest: string
      readonly manifest_str: string
      readonly size: number
      readonly dockerImageVersion: '2.1' | '2.2'
    }
  | { readonly type: 'error'; readonly error: { readonly code: string; readonly message: string } }
