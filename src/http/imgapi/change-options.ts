import { MirrorError } from '../../errors.js'
import { etagOf } from '../../images/serialize-manifest.js'
import type { Channels } from '../../mirror/channels.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import { wantsChannels } from '../accept-version.js'
import type { Principal } from '../auth/authenticator.js'
import { requireConditions } from '../conditions.js'
import type { Context } from '../every-request.js'
import { parseAccount } from './admit-account.js'
import { requestedChannel } from './requested-channel.js'

/**
 * What all changes have in common, from the request.
 *
 * @throws MirrorError CHANNEL_UNKNOWN, QUERY_INVALID.
 */
export function parseChangeOptions(context: Context, channels: Channels, { name }: Principal): ChangeOptions {
  const query = new URLSearchParams(context.querystring)
  const channel = requestedChannel(query, channels, 'write')
  return {
    author: {
      user: name,
      client: context.state.client,
      requestId: context.state.requestId,
    },
    account: parseAccount(query),
    channel,
    precondition: (current) => requireConditions(context, etagOf(current, wantsChannels(context))),
  }
}

/**
 * A parameter that is "true" or "false"; `undefined` when it is absent or empty.
 *
 * @throws MirrorError QUERY_INVALID.
 */
export function parseBoolean(query: URLSearchParams, name: string): boolean | undefined {
  const given = query.get(name)
  if (given === null || given === '') return undefined
  if (given === 'true' || given === 'false') return given === 'true'
  throw new MirrorError('QUERY_INVALID', `invalid value for "${name}" param: "${given}" is not a boolean`, {
    fields: [{ field: name, code: 'Invalid' }],
  })
}

/**
 * For what nobody does on somebody's behalf.
 *
 * @throws MirrorError OPERATOR_ONLY.
 */
export function requireOperator({ account }: ChangeOptions): void {
  if (account === undefined) return
  throw new MirrorError('OPERATOR_ONLY', 'this endpoint may only be called by an operator')
}
