import type { Command } from '@commander-js/extra-typings'
import type { Uuid } from '../images/uuid.js'
import type { PinFacts } from '../mirror/operations/image-answers.js'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { printable } from './printable.js'
import { readUuid } from './read-arguments.js'

const PIN_EXAMPLES = `
A pinned image never leaves to make room, and neither does what it builds on. Pins of the configuration stay as they are.

Examples:
  imgapi-mirror pin 04179d8e-188f-11e7-af8a-93349dd33f20 --reason 'all our zones build on it'
  imgapi-mirror list -o uuid,name,pinned`

const UNPIN_EXAMPLES = `
Examples:
  imgapi-mirror unpin 04179d8e-188f-11e7-af8a-93349dd33f20`

/** The pins that an image has now. */
interface PinsAnswer {
  readonly uuid: Uuid
  readonly pins: readonly PinFacts[]
}

export function registerPin(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('pin')
    .description('keep images, whatever else has to go')
    .argument('<uuids...>', 'of the images')
    .option('--reason <text>', 'why, for whoever wonders later')
    .addHelpText('after', PIN_EXAMPLES)
  addMirrorOptions(command).action(async (texts, options) => {
    const uuids = texts.map(readUuid)
    const mirror = await ApiClient.open(options, surroundings)
    for (const uuid of uuids) {
      await mirror.put<PinsAnswer>(
        `/api/images/${uuid}/pin`,
        options.reason === undefined ? {} : { reason: options.reason },
      )
      surroundings.write(`${uuid} is pinned\n`)
    }
  })
}

export function registerUnpin(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('unpin')
    .description('let images go again when room is needed')
    .argument('<uuids...>', 'of the images')
    .addHelpText('after', UNPIN_EXAMPLES)
  addMirrorOptions(command).action(async (texts, options) => {
    const uuids = texts.map(readUuid)
    const mirror = await ApiClient.open(options, surroundings)
    for (const uuid of uuids) {
      const { pins } = await mirror.delete<PinsAnswer>(`/api/images/${uuid}/pin`)
      const others = pins.map(({ by }) => by).join(', ')
      surroundings.write(
        printable(others === '' ? `${uuid} is not pinned any more` : `${uuid} stays pinned, by ${others}`),
      )
      surroundings.write('\n')
    }
  })
}
