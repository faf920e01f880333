import { MirrorError } from '../../errors.js'
import { Refusal } from '../answers.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** `imgapi: true` is what tells an IMGAPI from a DSAPI; imgadm refuses a source without it. */
export async function ping(
  context: Context,
  { version, pid }: { readonly version: string; readonly pid: number | undefined },
): Promise<void> {
  const name = new URLSearchParams(context.querystring).get('error')
  if (name !== null) throw simulatedFailure(name)
  const user = context.state.principal?.name
  const body = { ping: 'pong', version, imgapi: true, ...(user !== undefined && { pid, user }) }
  await sendJson(context, body, { cacheControl: 'no-store' })
}

const SAMPLES: Readonly<Record<string, Refusal>> = {
  ValidationFailed: new Refusal(422, 'ValidationFailed', 'boom'),
  InvalidParameter: new Refusal(422, 'InvalidParameter', 'invalid "foo"', {
    fields: [{ field: 'foo', code: 'Invalid' }],
  }),
  ImageFilesImmutable: new Refusal(
    422,
    'ImageFilesImmutable',
    'cannot modify files on activated image 82ce32a2-9cb4-9a4c-a303-7a63254bacf4',
  ),
  ImageAlreadyActivated: new Refusal(
    422,
    'ImageAlreadyActivated',
    'image "ed8cd007-2065-0140-8d41-e32247b71748" is already activated',
  ),
  NoActivationNoFile: new Refusal(
    422,
    'NoActivationNoFile',
    'image "ed8cd007-2065-0140-8d41-e32247b71748" cannot be activated: it has no file',
  ),
  OperatorOnly: new Refusal(403, 'OperatorOnly', 'this endpoint may only be called by an operator'),
  ImageUuidAlreadyExists: new Refusal(409, 'ImageUuidAlreadyExists', 'image uuid "undefined" already exists'),
  StorageIsDown: new Refusal(503, 'StorageIsDown', 'storage is down at the moment'),
  StorageUnsupported: new Refusal(503, 'StorageUnsupported', 'storage type is unsupported'),
  RemoteSource: new Refusal(503, 'RemoteSourceError', ''),
  Internal: new Refusal(500, 'InternalError', 'boom'),
}

/** Failures the reference knows by name and has no sample of (sdc-imgapi docs/index.md, "Errors"; imgapi.md, 3.5). */
const WITHOUT_SAMPLE: ReadonlySet<string> = new Set([
  'Upload',
  'Download',
  'ImageFileTooBig',
  'OwnerDoesNotExist',
  'AccountDoesNotExist',
  'NotImageOwner',
  'ImageNotShared',
  'NotMantaPathOwner',
  'OriginDoesNotExist',
  'OriginIsNotActive',
  'InsufficientServerVersion',
  'ImageHasDependentImages',
  'NotAvailable',
  'NotImplemented',
  'ResourceNotFound',
  'InvalidHeader',
  'ServiceUnavailable',
  'Unauthorized',
  'BadRequest',
])

/** `?error=NAME`: the failure of that name, for those who test clients. "Error" behind the name may be left out. */
function simulatedFailure(given: string): Refusal | MirrorError {
  const name = given === '' ? 'Internal' : given.replace(/Error$/, '')
  const sample = Object.hasOwn(SAMPLES, name) ? SAMPLES[name] : undefined
  if (sample) return sample
  if (WITHOUT_SAMPLE.has(name)) {
    return new Refusal(500, 'InternalError', `do not have a sample "${name}Error" error`)
  }
  return new MirrorError('QUERY_INVALID', `unknown error: ${name}Error`, {
    fields: [{ field: 'error', code: 'Missing' }],
  })
}
