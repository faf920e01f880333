import { z } from 'zod'
import type { BundleExports, BundleImports } from '../../../bundle/bundles.js'
import { type FieldFailure, isMirrorError } from '../../../errors.js'
import { parseUuid, type Uuid } from '../../../images/uuid.js'
import type { Operations, Operator } from '../../../mirror/operations/operations.js'
import type { Log } from '../../../parts/log.js'
import { Refusal } from '../../answers.js'

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

/** What the parts of a path that begin with a colon stand for. One called `uuid` is a uuid. */
export type ParamsOf<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Param<Name> & ParamsOf<`/${Rest}`>
  : Path extends `${string}:${infer Name}`
    ? Param<Name>
    : unknown

type Param<Name extends string> = { readonly [Key in Name]: Key extends 'uuid' ? Uuid : string }

/** Whom endpoints ask. */
export interface ApiRooms {
  readonly operations: Operations
  readonly exports: BundleExports
  readonly imports: BundleImports
}

/** What an endpoint is handed. */
export interface ApiRequest<Params, Query, Body> extends ApiRooms {
  readonly params: Params
  readonly query: Query
  readonly body: Body
  readonly operator: Operator
  /** Aborts when whoever asks is gone. */
  readonly signal: AbortSignal
  readonly log: Log
}

interface Definition<Path extends string, Query extends z.ZodType, Body extends z.ZodType> {
  readonly method: Method
  readonly path: Path
  /** One sentence, for the OpenAPI document. */
  readonly summary: string
  /** A strict object; its values arrive as texts. Without it, no parameters are allowed. */
  readonly query?: Query
  /** Without it, no body is. A schema that takes `undefined` lets the body be left out. */
  readonly body?: Body
}

export interface EndpointDefinition<
  Path extends string,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Answer extends z.ZodType,
> extends Definition<Path, Query, Body> {
  /** What is answered, exactly; a test holds every endpoint to it. */
  readonly answer: Answer
  /** 202 for work that goes on behind the answer. */
  readonly status?: 200 | 202
  handle(
    request: ApiRequest<ParamsOf<Path>, z.output<Query>, z.output<Body>>,
  ): Promise<Told<z.input<Answer>>> | Told<z.input<Answer>>
}

/** What is only going to be written down may be somebody's own, and not to be changed. */
type Told<Value> = Value extends readonly (infer Item)[]
  ? readonly Told<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: Told<Value[Key]> }
    : Value

export interface EventsDefinition<Path extends string, Query extends z.ZodType, Event extends z.ZodType>
  extends Definition<Path, Query, z.ZodUndefined> {
  readonly method: 'GET'
  /** The data of each event. */
  readonly event: Event
  /** The stream ends with it; it is to end when `signal` aborts. What it throws before its first event is answered with a status. */
  events(request: ApiRequest<ParamsOf<Path>, z.output<Query>, undefined>): AsyncIterable<Told<z.input<Event>>>
}

/** An endpoint as the app and the OpenAPI document know it: its types are kept by whoever defined it. */
export interface Endpoint {
  readonly method: Method
  readonly path: string
  readonly summary: string
  readonly query: z.ZodType | undefined
  readonly body: z.ZodType | undefined
  readonly status: number
  /** Of one that answers once, or of the events of one that goes on telling. */
  readonly answer: z.ZodType
  readonly isStream: boolean
  /** @throws Refusal 422 for parameters and bodies that are not as promised, and what the endpoint throws. */
  run(request: RawRequest): Promise<unknown>
}

/** As it came over the line. */
export type RawRequest = ApiRequest<Readonly<Record<string, string>>, URLSearchParams, unknown>

/** An endpoint of the operator API: one file each. Also what the OpenAPI document says of it is made from this. */
export function defineEndpoint<
  const Path extends `/api/${string}`,
  Answer extends z.ZodType,
  Query extends z.ZodType = z.ZodUndefined,
  Body extends z.ZodType = z.ZodUndefined,
>(definition: EndpointDefinition<Path, Query, Body, Answer>): Endpoint {
  return {
    ...describe(definition),
    status: definition.status ?? 200,
    answer: definition.answer,
    isStream: false,
    run: async (raw) => await definition.handle(checked(definition, raw)),
  }
}

/** An endpoint that tells what happens as server-sent events, as long as there is something to tell. */
export function defineEvents<
  const Path extends `/api/${string}`,
  Event extends z.ZodType,
  Query extends z.ZodType = z.ZodUndefined,
>(definition: EventsDefinition<Path, Query, Event>): Endpoint {
  return {
    ...describe(definition),
    status: 200,
    answer: definition.event,
    isStream: true,
    run: async (raw) => definition.events(checked(definition, raw)),
  }
}

function describe({ method, path, summary, query, body }: Definition<string, z.ZodType, z.ZodType>) {
  return { method, path, summary, query, body }
}

function checked<Path extends string, Query extends z.ZodType, Body extends z.ZodType>(
  { query, body }: Definition<Path, Query, Body>,
  raw: RawRequest,
): ApiRequest<ParamsOf<Path>, z.output<Query>, z.output<Body>> {
  const { uuid } = raw.params
  if (uuid !== undefined && !parseUuid(uuid)) {
    throw invalid([{ field: 'uuid', code: 'Invalid', message: 'right is a lower-case uuid' }])
  }
  return {
    ...raw,
    params: raw.params as ParamsOf<Path>,
    query: parse(query ?? NO_QUERY, queryOf(raw.query)) as z.output<Query>,
    body: parse(body ?? NO_BODY, raw.body) as z.output<Body>,
  }
}

const NO_QUERY = z.strictObject({})
const NO_BODY = z.undefined('nothing: this takes no body')

/** A parameter that is there twice is a list, which no schema takes that does not want one. */
function queryOf(query: URLSearchParams): Record<string, string | string[]> {
  const names = [...new Set(query.keys())]
  return Object.fromEntries(
    names.map((name) => {
      const values = query.getAll(name)
      return [name, values.length === 1 ? values[0]! : values]
    }),
  )
}

function parse(schema: z.ZodType, value: unknown): unknown {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw invalid(
    parsed.error.issues.flatMap((issue): FieldFailure[] => {
      if (issue.code === 'unrecognized_keys') {
        return issue.keys.map((field) => ({ field, code: 'NotAllowed', message: 'there is no such parameter' }))
      }
      return [{ field: issue.path.join('.') || 'body', code: 'Invalid', message: issue.message }]
    }),
  )
}

function invalid(fields: readonly FieldFailure[]): Refusal {
  const told = fields.map(({ field, message }) => `${field}: ${message}`).join('; ')
  return new Refusal(422, 'InvalidParameter', `not understood: ${told}`, { fields })
}

/** A text that one of our parsers reads. What it complains of is what is wrong with the parameter. */
export function parsed<Value>(parseText: (text: string) => Value | undefined, right: string) {
  return z.string(right).transform((text, context) => {
    try {
      const value = parseText(text)
      if (value !== undefined) return value
      context.issues.push({ code: 'custom', message: `right is ${right}`, input: text })
    } catch (error) {
      if (!isMirrorError(error, 'CONFIG_INVALID')) throw error
      context.issues.push({ code: 'custom', message: error.message, input: text })
    }
    return z.NEVER
  })
}
