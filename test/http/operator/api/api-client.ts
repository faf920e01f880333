import { expect } from 'vitest'
import type { Endpoint } from '../../../../src/http/operator/api/define-endpoint.js'
import { ENDPOINTS } from '../../../../src/http/operator/api/endpoints.js'
import { failureBody } from '../../../../src/http/operator/api/failure-shape.js'
import type { JobDetails, JobSummary } from '../../../../src/mirror/jobs.js'

export interface Answered<Body> {
  readonly status: number
  readonly body: Body
}

/** Every endpoint that was asked and has answered well, as `GET /api/jobs`. */
export const answered = new Set<string>()

/** Asks an endpoint of the operator API, and holds what it answers to what it promises. */
export async function ask<Body = Record<string, unknown>>(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answered<Body>> {
  const response = await fetch(`${url}${path}`, { method, ...(body !== undefined && { body: JSON.stringify(body) }) })
  const answer: unknown = await response.json()
  const endpoint = endpointOf(method, path)
  const shape = response.ok ? endpoint!.answer : failureBody
  expect(shape.safeParse(answer).error?.issues ?? [], `${method} ${path}: ${JSON.stringify(answer)}`).toEqual([])
  if (response.ok && endpoint) {
    expect(response.status).toBe(endpoint.status)
    answered.add(nameOf(endpoint))
  }
  return { status: response.status, body: answer as Body }
}

/** Follows a job to its end, by its events. */
export async function follow(url: string, { id }: JobSummary): Promise<JobDetails[]> {
  const endpoint = endpointOf('GET', `/api/jobs/${id}/events`)!
  const response = await fetch(`${url}/api/jobs/${id}/events`)
  expect(response.headers.get('content-type')).toBe('text/event-stream')
  const events = (await response.text()).split('\n\n').filter((text) => text !== '' && text !== ':')
  answered.add(nameOf(endpoint))
  return events.map((text) => endpoint.answer.parse(JSON.parse(text.replace(/^data: /, ''))) as JobDetails)
}

export function nameOf({ method, path }: Endpoint): string {
  return `${method} ${path}`
}

function endpointOf(method: string, path: string): Endpoint | undefined {
  return ENDPOINTS.find((endpoint) => {
    const pattern = new RegExp(`^${endpoint.path.replace(/:\w+/g, '[^/]+')}$`)
    return endpoint.method === method && pattern.test(path.split('?')[0]!)
  })
}
