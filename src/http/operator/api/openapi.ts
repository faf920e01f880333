import { z } from 'zod'
import type { JsonObject } from '../../../parts/json-object.js'
import type { Endpoint } from './define-endpoint.js'
import { ENDPOINTS } from './endpoints.js'
import { failureBody } from './failure-shape.js'

type Schemas = Record<string, unknown>

/**
 * The operator API for machines: an OpenAPI 3.1 document, made of the endpoints themselves. The same text for the same endpoints.
 * Source of the form: https://spec.openapis.org/oas/v3.1.0
 */
export function openApiDocument(): JsonObject {
  const schemas: Schemas = {}
  const paths: Record<string, Record<string, unknown>> = {}
  for (const endpoint of ENDPOINTS) {
    const path = endpoint.path.replace(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operationOf(endpoint, schemas) }
  }
  const failure = schemaOf(failureBody, schemas)
  return {
    openapi: '3.1.0',
    info: {
      title: 'imgapi-mirror, operator API',
      version: '1',
      description:
        'On the operator listener. Open to whoever reaches it by loopback or a unix socket; everybody else needs the bearer token of operatorAccess.tokenFile, or a TLS client certificate of operatorAccess.clientCa. Times are in milliseconds since 1970.',
    },
    servers: [{ url: 'http://127.0.0.1:8081' }],
    security: [{}, { token: [] }, { certificate: [] }],
    paths,
    components: {
      schemas,
      responses: { Failure: { description: 'It could not be done.', content: json(failure) } },
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        certificate: { type: 'mutualTLS' },
      },
    },
  }
}

function operationOf(endpoint: Endpoint, schemas: Schemas): JsonObject {
  const { answer, body, isStream, method, path, status, summary } = endpoint
  const schema = schemaOf(answer, schemas)
  const content = isStream
    ? { 'text/event-stream': { schema: { type: 'string' }, 'x-event-data': schema } }
    : json(schema)
  const isOptional = body?.safeParse(undefined).success
  return {
    operationId: operationIdOf(method, path),
    summary,
    parameters: [...pathParameters(path), ...queryParameters(endpoint, schemas)],
    ...(body && { requestBody: { required: !isOptional, content: json(schemaOf(body, schemas, 'input')) } }),
    responses: {
      [status]: { description: isStream ? 'Events; the data of each is as x-event-data says.' : 'Done.', content },
      default: { $ref: '#/components/responses/Failure' },
    },
  }
}

/** `GET /api/jobs/:id/events` is `getJobsIdEvents`. */
function operationIdOf(method: string, path: string): string {
  const words = path.replace('/api/', '').split(/\W+/).filter(Boolean)
  return method.toLowerCase() + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('')
}

function pathParameters(path: string): JsonObject[] {
  return [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string', ...(/^(uuid|id)$/.test(name) && { format: 'uuid' }) },
  }))
}

function queryParameters({ query }: Endpoint, schemas: Schemas): JsonObject[] {
  if (!query) return []
  const { properties = {}, required = [] } = schemaOf(query, schemas, 'input') as {
    properties?: Record<string, JsonObject>
    required?: string[]
  }
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description !== undefined && { description }),
    schema,
  }))
}

function json(schema: JsonObject): JsonObject {
  return { 'application/json': { schema } }
}

/** JSON Schema, whose named parts are put into `schemas`. */
function schemaOf(schema: z.ZodType, schemas: Schemas, io: 'input' | 'output' = 'output'): JsonObject {
  const { $schema: _dialect, $defs = {}, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  for (const [name, definition] of Object.entries($defs)) schemas[name] = relocated(definition)
  const { id, ...root } = relocated(rest) as { id?: string }
  if (id === undefined) return root
  schemas[id] = root
  return { $ref: `#/components/schemas/${id}` }
}

/** With references that lead into the document, and without names where a name is a place already. */
function relocated(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(relocated)
  if (typeof schema !== 'object' || schema === null) return schema
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) =>
      key === '$ref' && typeof value === 'string'
        ? [key, value.replace('#/$defs/', '#/components/schemas/')]
        : [key, relocated(value)],
    ),
  )
}
