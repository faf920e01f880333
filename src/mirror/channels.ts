import { MirrorError } from '../errors.js'
import { readChannels, shareChannels } from '../images/channel-names.js'
import type { Claim } from '../images/claim.js'
import type { Manifest } from '../images/manifest.js'

/** A channel of ours, as the configuration says it. */
export interface Channel {
  readonly name: string
  readonly description: string
  readonly isDefault: boolean
}

/** Which channels of ours an upstream fills. */
export interface ChannelFilling {
  /** The upstream's own channel that is mirrored: a name, `*` for all of them, `undefined` for its default. */
  readonly channel: string | undefined
  /** Channels of ours that all of its images go into, whatever else is said; empty when nothing is. */
  readonly into: readonly string[]
}

/** What a reader says to see the images of every channel. */
export const ALL_CHANNELS = '*'

const NOWHERE = shareChannels([])

/**
 * The channels of this mirror: which there are, what a request means by its `channel`, and where an upstream's images go.
 * Without any, nothing here has an effect, and `channel` means nothing.
 *
 * Source: sdc-imgapi 4.13.1, lib/channels.js, `reqChannel` and `reqChannelAllowStar`; the messages are its own.
 */
export class Channels {
  readonly #channels: ReadonlyMap<string, Channel>
  readonly #default: Channel | undefined
  readonly #fillings: ReadonlyMap<string, ChannelFilling>

  /** @param fillings by name of upstream. One that is not named here fills the default channel. */
  constructor(channels: readonly Channel[] = [], fillings: ReadonlyMap<string, ChannelFilling> = new Map()) {
    this.#channels = new Map(channels.map((channel) => [channel.name, channel]))
    this.#default = channels.find(({ isDefault }) => isDefault)
    this.#fillings = fillings
  }

  /** Whether this mirror has channels at all. */
  get areUsed(): boolean {
    return this.#channels.size > 0
  }

  /** Of those who name none; `undefined` if they must. */
  get default(): string | undefined {
    return this.#default?.name
  }

  /** In the order of the configuration. */
  get list(): readonly Channel[] {
    return [...this.#channels.values()]
  }

  has(name: string): boolean {
    return this.#channels.has(name)
  }

  /**
   * What a request means by its `channel`: the name of a channel, `*` for all of them, or `undefined` on a mirror without
   * channels. What it answers means the same when it is asked again.
   * @param asked as it stands in the request; `undefined` or empty for the default channel.
   * @param use only who reads may ask for all channels.
   * @throws MirrorError CHANNEL_UNKNOWN for a channel we do not have, and for none where none is the default.
   */
  resolve(asked: string | undefined, use: 'read' | 'write'): string | undefined {
    if (!this.areUsed) return undefined
    if (!asked) {
      if (this.#default) return this.#default.name
      const message = 'channel not specified and the server has no default channel'
      throw new MirrorError('CHANNEL_UNKNOWN', message, { fields: [{ field: 'channel', code: 'MissingParameter' }] })
    }
    if (this.has(asked) || (asked === ALL_CHANNELS && use === 'read')) return asked
    throw unknownChannel(asked)
  }

  /**
   * Whether an image is to be seen in a channel, which was resolved before. One that is in no channel of ours is not to be
   * seen at all.
   */
  shows({ channels = [] }: Pick<Manifest, 'channels'>, channel: string | undefined): boolean {
    if (channel === undefined) return true
    return channel === ALL_CHANNELS ? channels.length > 0 : channels.includes(channel)
  }

  /** Whether images of this upstream may come into this channel of ours, as far as the configuration tells. */
  mayFill(upstream: string, channel: string): boolean {
    const { into, channel: theirs } = this.#fillings.get(upstream) ?? DEFAULT_FILLING
    if (channel === ALL_CHANNELS || into.includes(channel)) return true
    if (into.length > 0) return false
    return theirs === ALL_CHANNELS || channel === (theirs ?? this.#default?.name)
  }

  /**
   * The channels of ours that what an upstream claims puts the image into: those it fills by configuration, else the channel
   * of that name, else, where all of its channels are mirrored, the image's own as far as we have them.
   */
  filledBy({ upstream, channels }: Pick<Claim, 'upstream' | 'channels'>): readonly string[] {
    const { into, channel } = this.#fillings.get(upstream) ?? DEFAULT_FILLING
    if (into.length > 0) return shareChannels(into)
    if (channel === undefined || (channel === ALL_CHANNELS && channels === undefined)) return this.#defaultAlone()
    if (channel !== ALL_CHANNELS) return this.has(channel) ? shareChannels([channel]) : NOWHERE
    return channels?.every((name) => this.has(name))
      ? channels
      : shareChannels((channels ?? []).filter((name) => this.has(name)))
  }

  /** Where an image of our own is: what its record says, as far as we have those channels. */
  ofOwn(recorded: unknown): readonly string[] {
    const channels = (readChannels(recorded) ?? []).filter((name) => this.has(name))
    return channels.length > 0 ? shareChannels(channels) : this.ofOrphans
  }

  /**
   * Where an image is that is held, and of which nobody says any more where it belongs: what is held stays to be seen, so
   * without a default channel it is in all of them.
   */
  get ofOrphans(): readonly string[] {
    return this.#default ? this.#defaultAlone() : shareChannels([...this.#channels.keys()])
  }

  #defaultAlone(): readonly string[] {
    return this.#default ? shareChannels([this.#default.name]) : NOWHERE
  }
}

const DEFAULT_FILLING: ChannelFilling = { channel: undefined, into: [] }

/** @param asked whatever a request has in the place of a channel's name. */
export function unknownChannel(asked: unknown): MirrorError {
  return new MirrorError('CHANNEL_UNKNOWN', `unknown channel: ${String(asked).slice(0, 100)}`, {
    fields: [{ field: 'channel', code: 'Invalid' }],
  })
}
