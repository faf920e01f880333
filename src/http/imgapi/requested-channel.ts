import type { Channels } from '../../mirror/channels.js'

/**
 * What the query says with `channel`, resolved: the name of a channel of ours, `*`, or `undefined` on a mirror without channels.
 * Looked at before every other parameter, as the reference does; of one given twice it sees both, which are no channel.
 *
 * @throws MirrorError CHANNEL_UNKNOWN
 */
export function requestedChannel(
  query: URLSearchParams,
  channels: Channels,
  use: 'read' | 'write' = 'read',
): string | undefined {
  return channels.resolve(query.getAll('channel').join(','), use)
}
