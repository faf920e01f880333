import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import type { Endpoint } from '../../../../src/http/operator/api/define-endpoint.js'
import { ENDPOINTS } from '../../../../src/http/operator/api/endpoints.js'
import { failureBody } from '../../../../src/http/operator/api/failure-shape.js'
import { startMirror } from '../../../support/running-mirror.js'

/** Asks an endpoint, and holds what it answers to what it promises. */
async function ask(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${url}${path}`, { method, ...(body !== undefined && { body: JSON.stringify(body) }) })
  const answer: unknown = await response.json()
  const endpoint = endpointOf(method, path)
  const shape = response.ok ? endpoint!.answer : failureBody
  expect(shape.safeParse(answer).error?.issues ?? [], `${method} ${path}`).toEqual([])
  if (response.ok) expect(response.status).toBe(endpoint!.status)
  return { status: response.status, body: answer as Record<string, unknown> }
}

function endpointOf(method: string, path: string): Endpoint | undefined {
  return ENDPOINTS.find((endpoint) => {
    const pattern = new RegExp(`^${endpoint.path.replace(/:\w+/g, '[^/]+')}$`)
    return endpoint.method === method && pattern.test(path.split('?')[0]!)
  })
}

it('tells machines what it can do, as it is written down in docs/', async () => {
  const { operatorUrl } = await startMirror()
  const document = (await (await fetch(`${operatorUrl}/api/openapi.json`)).json()) as { paths: object }
  const written = JSON.parse(await readFile(new URL('../../../../docs/openapi.json', import.meta.url), 'utf8'))
  expect(document).toEqual(written)
  const described = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
  )
  expect(described.toSorted()).toEqual(ENDPOINTS.map(({ method, path }) => `${method} ${path}`).toSorted())
})

it('says what is wrong with a request, parameter by parameter', async () => {
  const { operatorUrl } = await startMirror()
  expect(await ask(operatorUrl, 'GET', '/api/jobs?limit=0&colour=red')).toMatchObject({
    status: 422,
    body: { code: 'InvalidParameter', errors: [{ field: 'limit' }, { field: 'colour', code: 'NotAllowed' }] },
  })
  expect(await ask(operatorUrl, 'GET', '/api/jobs/nonsense')).toMatchObject({ status: 404 })
  expect(await ask(operatorUrl, 'GET', '/api/nonsense')).toMatchObject({ status: 404 })
  const wrong = await fetch(`${operatorUrl}/api/jobs`, { method: 'PUT' })
  expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'HEAD, GET'])
})
