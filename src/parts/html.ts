/** Text that is HTML already: made by `html` alone, so that nothing foreign gets into a page unescaped. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = string | number | Html | readonly Html[]

/** HTML with every value in it escaped, for text and for attributes in double quotes, unless it is HTML itself. */
export function html(literals: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(String.raw({ raw: literals }, ...values.map(textOf)))
}

function textOf(value: Part): string {
  if (value instanceof Html) return value.text
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value))
  return value.map(({ text }) => text).join('')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!)
}
