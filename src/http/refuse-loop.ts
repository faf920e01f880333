import { hopsIn } from '../parts/hops.js'
import { Refusal } from './answers.js'
import type { Context } from './every-request.js'

/** A chain of mirrors longer than this is none that anybody meant. */
const LONGEST_CHAIN = 16

/** So often an operator is told that requests come back. */
const TELL_AGAIN_MS = 60 * 60 * 1000

/**
 * Makes what reads the mirrors that a request has come through, by its Via (RFC 9110, 7.6.3). It throws Refusal 508 for one
 * that has been here before: waiting for its answer, we would wait for ourselves.
 */
export function makeHopReader(instance: string | undefined): (context: Context) => readonly string[] {
  let toldMs = Number.NEGATIVE_INFINITY
  return (context) => {
    const hops = hopsIn(context.get('Via'))
    if (instance === undefined || (!hops.includes(instance) && hops.length < LONGEST_CHAIN)) return hops
    if (performance.now() - toldMs > TELL_AGAIN_MS) {
      toldMs = performance.now()
      const facts = { via: hops, client: context.state.client }
      context.state.log.warn(
        facts,
        'a loop of mirrors: a request came back that this mirror had sent to one of its upstreams. Take this mirror out of the upstreams of its upstreams',
      )
    }
    throw new Refusal(
      508,
      'LoopDetected',
      'this request has come through this mirror before: its upstreams lead back to it',
    )
  }
}
