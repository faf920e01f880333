/** From the top of the config to a value: keys, and places in lists from 0. */
export type Path = readonly (string | number)[]

/** Something wrong with the config, before it is known where in which file that stands. */
export interface Problem {
  readonly path: Path
  /** Whether it is the key itself that is wrong, and not its value. */
  readonly isKey?: boolean
  /** What was found, and what is right. */
  readonly complaint: string
}

/** `upstreams[0].url`, as people write it. The top itself is the empty text. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`
    return text === '' ? step : `${text}.${step}`
  }, '')
}

/** The value at `path` in parsed YAML; `undefined` where there is none. */
export function valueAt(data: unknown, path: Path): unknown {
  let value = data
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as Record<string | number, unknown>)[step]
  }
  return value
}

const LONGEST_SHOWN = 80

/** A value for a message: short, in one line, and without the credentials of a url. */
export function formatValue(value: unknown): string {
  const json = (JSON.stringify(value) ?? String(value)).replaceAll(/(\/\/)[^/@"]*@/g, '$1(secret)@')
  return json.length > LONGEST_SHOWN ? `${json.slice(0, LONGEST_SHOWN)}...` : json
}
