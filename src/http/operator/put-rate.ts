import { parseRate, RATE_FORM, type Rate } from '../../parts/parse-rate.js'
import { Refusal } from '../answers.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/**
 * Changes how fast lines may be used from now on, also for what is under way.
 * @param upstream all of them together, if undefined.
 * @param rate `undefined` goes back to what the configuration says.
 * @returns false when there is no such upstream.
 */
export type SetRate = (upstream: string | undefined, rate: Rate | undefined) => boolean

/**
 * `PUT /rate?limit=20Mbit/s`, or `/upstreams/NAME/rate`: holds until the next start, or until `DELETE`, which goes back
 * to the configuration.
 */
export async function putRate(context: Context, setRate: SetRate): Promise<void> {
  const { name } = context.params as { name?: string }
  const text = context.method === 'DELETE' ? undefined : (new URLSearchParams(context.querystring).get('limit') ?? '')
  const rate = text === undefined ? undefined : parseRate(text)
  if (text !== undefined && rate === undefined) {
    throw new Refusal(422, 'InvalidParameter', `found limit "${text.slice(0, 64)}"; right would be ${RATE_FORM}`)
  }
  if (!setRate(name, rate)) throw new Refusal(404, 'ResourceNotFound', `there is no upstream "${name}"`)
  await sendJson(context, { limit: text ?? 'as configured' }, { cacheControl: 'no-store' })
}
