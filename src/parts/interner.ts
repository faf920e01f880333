/**
 * Gives equal texts back as one string, so that a word that occurs 100,000 times is in memory once. Holds at most
 * `maxTexts`; what comes later passes through unshared, which costs memory and nothing else.
 */
export class Interner {
  readonly #texts = new Map<string, string>()

  constructor(readonly maxTexts: number) {}

  share(text: string): string {
    const known = this.#texts.get(text)
    if (known !== undefined) return known
    if (this.#texts.size < this.maxTexts) this.#texts.set(text, text)
    return text
  }
}
