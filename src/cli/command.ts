import type { Command } from '@commander-js/extra-typings'
import type { Surroundings } from './surroundings.js'

/** As imgadm's: 1 is a failure, 2 a command line that means nothing, 3 an image that is needed here and is not. */
export const FAILED = 1
export const MISUSED = 2
export const NOT_HELD = 3

/** What a command is given when it is registered. */
export interface CommandSurroundings extends Surroundings {
  /** What the process is to exit with, when that is neither success nor a thrown failure. */
  exitWith(code: number): void
}

/** Adds one command to the program. There is one such function in the file of each command. */
export type Register = (program: Command, surroundings: CommandSurroundings) => void

/** Why a command did not do what it was asked to; told in one line, without a stack. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'

  constructor(
    message: string,
    readonly exitCode: number = FAILED,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}
