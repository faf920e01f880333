import { MirrorError } from '../../errors.js'
import { BoundedJsonError, type JsonLimits, parseBoundedJson } from '../../parts/bounded-json.js'
import { brief, isJsonObject, type JsonObject } from '../../parts/json-object.js'
import { parseUuid, type Uuid } from '../uuid.js'

const SHA256 = /^[0-9a-f]{64}$/
/** Everything people may read, on one line: no control characters, which do things to terminals. */
const WORD = /^[^\p{Control}\p{Line_Separator}\p{Paragraph_Separator}\p{Surrogate}]+$/u
const MAX_WORD_LENGTH = 255

/** Reads a JSON object that came on a medium, field by field; of one that is wrong it says where it is, and what would be right. */
export class FieldReader {
  readonly #object: JsonObject
  /** `bundle.json: images[3]`, for messages. */
  readonly #where: string

  /** @throws MirrorError BUNDLE_INVALID for what is no JSON object within the limits. */
  static ofDocument(name: string, bytes: Buffer, limits: JsonLimits): FieldReader {
    try {
      const value = parseBoundedJson(bytes, limits)
      if (!isJsonObject(value)) throw new BoundedJsonError('not a JSON object')
      return new FieldReader(value, `${name}:`)
    } catch (cause) {
      if (!(cause instanceof BoundedJsonError)) throw cause
      throw new MirrorError('BUNDLE_INVALID', `${name} is ${cause.message}`, { cause })
    }
  }

  private constructor(object: JsonObject, where: string) {
    this.#object = object
    this.#where = where
  }

  raw(key: string): unknown {
    return Object.hasOwn(this.#object, key) ? this.#object[key] : undefined
  }

  /** That the document is what it should be, of a version that we know. */
  expectFormat(format: string): void {
    if (this.raw('format') !== format) throw this.refusal('format', JSON.stringify(format))
    const version = this.wholeNumber('version', { least: 1 })
    if (version !== 1) throw this.failure(`it is of version ${version}, which takes a newer release to read`)
  }

  object(key: string): FieldReader {
    const value = this.raw(key)
    if (!isJsonObject(value)) throw this.refusal(key, 'an object')
    return new FieldReader(value, this.#whereIs(key))
  }

  objectOrNull(key: string): FieldReader | undefined {
    return this.raw(key) === null ? undefined : this.object(key)
  }

  objects(key: string, most: number): FieldReader[] {
    return this.#list(key, most).map((value, index) => {
      if (!isJsonObject(value)) throw this.refusal(`${key}[${index}]`, 'an object', value)
      return new FieldReader(value, this.#whereIs(`${key}[${index}]`))
    })
  }

  words(key: string, most: number, maxLength: number): string[] {
    return this.#list(key, most).map((value, index) => {
      if (isWord(value, maxLength)) return value
      throw this.refusal(`${key}[${index}]`, `one line of text, of 1 to ${maxLength} characters`, value)
    })
  }

  /** One line of text. */
  word(key: string): string {
    const value = this.raw(key)
    if (isWord(value, MAX_WORD_LENGTH)) return value
    throw this.refusal(key, `one line of text, of 1 to ${MAX_WORD_LENGTH} characters`)
  }

  text(key: string, pattern: RegExp, right: string): string {
    const value = this.raw(key)
    if (typeof value === 'string' && pattern.test(value)) return value
    throw this.refusal(key, right)
  }

  sha256(key: string): string {
    return this.text(key, SHA256, 'a SHA-256, in 64 lower-case hex digits')
  }

  uuid(key: string): Uuid {
    return parseUuid(this.raw(key)) ?? this.#refuse(key, 'a uuid, in lower case')
  }

  oneOf<Word extends string>(key: string, words: readonly Word[]): Word {
    return words.find((word) => word === this.raw(key)) ?? this.#refuse(key, `one of ${words.join(', ')}`)
  }

  /** @param most inclusive; without it, whatever a number can be exact about. */
  wholeNumber(key: string, { least, most = Number.MAX_SAFE_INTEGER }: { least: number; most?: number }): number {
    const value = this.raw(key)
    // Adding nothing makes 0 of -0.
    if (Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most) return Number(value) + 0
    throw this.refusal(key, `a whole number from ${least} to ${most}`)
  }

  /** What is wrong with the value of `key`. */
  refusal(key: string, right: string, found = this.raw(key)): MirrorError {
    return this.failure(`is ${found === undefined ? 'missing' : brief(found)}; right is ${right}`, key)
  }

  /** What is wrong with this object, or with its `key`. */
  failure(problem: string, key?: string): MirrorError {
    const where = key === undefined ? this.#where : this.#whereIs(key)
    return new MirrorError('BUNDLE_INVALID', `${where} ${problem}`)
  }

  #list(key: string, most: number): readonly unknown[] {
    const value = this.raw(key)
    if (!Array.isArray(value)) throw this.refusal(key, 'a list')
    if (value.length > most) throw this.failure(`has ${value.length} entries; we take at most ${most}`, key)
    return value
  }

  #refuse(key: string, right: string): never {
    throw this.refusal(key, right)
  }

  #whereIs(key: string): string {
    return this.#where.endsWith(':') ? `${this.#where} ${key}` : `${this.#where}.${key}`
  }
}

function isWord(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length <= maxLength && WORD.test(value)
}
