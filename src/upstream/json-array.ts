import { isUtf8 } from 'node:buffer'

/** What an array from the network may be. */
export interface JsonArrayLimits {
  /** Of one element with the blanks around it, in UTF-8. */
  readonly elementBytes: number
  /** Of arrays and objects within one element. */
  readonly depth: number
  readonly count: number
}

export const JSON_ARRAY_LIMITS: JsonArrayLimits = { elementBytes: 1024 * 1024, depth: 32, count: 500_000 }

/** One element of the array, or why it is none. `index` is its place in the array. */
export type JsonElement =
  | { readonly index: number; readonly value: unknown }
  | { readonly index: number; readonly fault: string }

/** The bytes are not one JSON array, or one beyond its limits. */
export class JsonArrayError extends Error {
  override readonly name = 'JsonArrayError'
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]

/**
 * Takes a JSON array apart into its elements while it arrives, so that a list of 100 MB is never in memory at once, nor
 * in one `JSON.parse` that stops everything else for a second.
 *
 * Ours, because the streaming parsers on npm build every value themselves, token by token (some ten times slower than
 * `JSON.parse`), give up the whole array for one bad element, or bound nothing. All that is needed here is to know where
 * an element ends: strings, brackets and commas. That works on bytes, since no byte of a multi-byte UTF-8 character
 * looks like one of them. Each element then goes to `JSON.parse`, which alone decides what JSON is.
 *
 * An element that is no JSON, too large or too deep is reported as a fault and does not spoil the others, as long as
 * its strings and brackets close.
 */
export class JsonArraySplitter {
  readonly #limits: JsonArrayLimits
  #place: 'before' | 'inside' | 'after' = 'before'
  #bytesBefore = 0
  #isInString = false
  #isEscaped = false
  #depth = 0
  #isTooDeep = false
  #index = 0
  /** The beginning of an element whose end has not arrived; grows by doubling, up to `elementBytes`. */
  #held: Buffer = Buffer.alloc(0)
  #heldBytes = 0
  #isTooLarge = false

  constructor(limits: JsonArrayLimits = JSON_ARRAY_LIMITS) {
    this.#limits = limits
  }

  /**
   * The elements that end in this chunk.
   * @throws JsonArrayError when the rest cannot be understood.
   */
  *push(chunk: Uint8Array): Generator<JsonElement, void> {
    let elementStart = 0
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!
      if (this.#isInString) {
        if (this.#isEscaped) this.#isEscaped = false
        else if (byte === BACKSLASH) this.#isEscaped = true
        else if (byte === QUOTE) this.#isInString = false
      } else if (this.#place === 'inside') {
        if (byte === QUOTE) this.#isInString = true
        else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) this.#enter()
        else if (this.#depth > 0) {
          if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) this.#depth -= 1
        } else if (byte === COMMA || byte === CLOSE_BRACKET) {
          const text = this.#take(chunk, elementStart, at)
          elementStart = at + 1
          if (byte === CLOSE_BRACKET) this.#place = 'after'
          const isEmptyArray = byte === CLOSE_BRACKET && this.#index === 0 && !this.#isTooLarge && isBlank(text)
          if (!isEmptyArray) yield this.#element(text)
        }
      } else if (this.#place === 'before') {
        this.#expectOpening(byte)
        elementStart = at + 1
      } else if (!isWhitespace(byte)) {
        throw new JsonArrayError('something follows the array')
      }
    }
    if (this.#place === 'inside') this.#hold(chunk, elementStart, chunk.length)
  }

  /** @throws JsonArrayError when the array has not ended. */
  end(): void {
    if (this.#place === 'before') throw new JsonArrayError('nothing came')
    if (this.#place === 'inside') throw new JsonArrayError(`it ends within element #${this.#index}`)
  }

  #expectOpening(byte: number): void {
    if (byte === OPEN_BRACKET) this.#place = 'inside'
    else if (byte === BYTE_ORDER_MARK[this.#bytesBefore]) this.#bytesBefore += 1
    else if (!isWhitespace(byte)) {
      throw new JsonArrayError(byte === 0x3c ? 'it is a page (HTML or XML), not a JSON array' : 'it is no JSON array')
    }
  }

  #enter(): void {
    this.#depth += 1
    if (this.#depth > this.#limits.depth) this.#isTooDeep = true
  }

  #hold(chunk: Uint8Array, start: number, end: number): void {
    const neededBytes = this.#heldBytes + (end - start)
    if (this.#isTooLarge || neededBytes > this.#limits.elementBytes) {
      this.#isTooLarge = true
      return
    }
    if (neededBytes > this.#held.length) {
      // Copied, not kept by reference: a server that sends single bytes must not make us keep a million small buffers.
      const grown = Buffer.alloc(Math.min(this.#limits.elementBytes, Math.max(4096, 2 * neededBytes)))
      this.#held.copy(grown, 0, 0, this.#heldBytes)
      this.#held = grown
    }
    this.#held.set(chunk.subarray(start, end), this.#heldBytes)
    this.#heldBytes = neededBytes
  }

  /** The bytes of the element that ends here; empty when they are too many. */
  #take(chunk: Uint8Array, start: number, end: number): Buffer {
    if (this.#heldBytes === 0 && !this.#isTooLarge && end - start <= this.#limits.elementBytes) {
      return Buffer.from(chunk.buffer, chunk.byteOffset + start, end - start)
    }
    this.#hold(chunk, start, end)
    const text = this.#isTooLarge ? Buffer.alloc(0) : this.#held.subarray(0, this.#heldBytes)
    this.#heldBytes = 0
    return text
  }

  #element(text: Buffer): JsonElement {
    const index = this.#index++
    if (index >= this.#limits.count) throw new JsonArrayError(`it has more than ${this.#limits.count} elements`)
    const [isTooLarge, isTooDeep] = [this.#isTooLarge, this.#isTooDeep]
    this.#isTooLarge = false
    this.#isTooDeep = false
    if (isTooLarge) return { index, fault: `is larger than ${this.#limits.elementBytes} bytes` }
    if (isTooDeep) return { index, fault: `is nested deeper than ${this.#limits.depth} levels` }
    if (!isUtf8(text)) return { index, fault: 'is not UTF-8' }
    try {
      return { index, value: JSON.parse(text.toString('utf8')) }
    } catch {
      return { index, fault: 'is not JSON' }
    }
  }
}

function isWhitespace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

function isBlank(text: Uint8Array): boolean {
  return text.every(isWhitespace)
}
