/** C0 and C1 control characters, and those that turn the direction of writing: they could rewrite what stands on a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** `text` on one line, with nothing in it that a terminal would obey: names and errors come from other people's servers. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => (/\s/.test(character) ? ' ' : '\ufffd'))
}
