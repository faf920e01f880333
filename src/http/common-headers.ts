/** What every answer says of who gave it. */
export interface CommonFacts {
  readonly version: string
  /** What `x-server-name` says: the host's name. */
  readonly serverName: string
  /** How this mirror names itself in Via, to its upstreams and in its answers: a request that comes back is refused. */
  readonly instance?: string | undefined
}

/** The headers that every answer has, failures included. */
export function commonHeaders(
  requestId: string,
  { instance, serverName, version }: CommonFacts,
): Readonly<Record<string, string>> {
  return {
    Server: `imgapi-mirror/${version}`,
    'x-request-id': requestId,
    'x-server-name': serverName,
    // So that a mirror that asks us knows us again where it is asked through us.
    ...(instance !== undefined && { Via: `1.1 ${instance}` }),
  }
}
