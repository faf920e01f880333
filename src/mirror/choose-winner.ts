import type { Claim } from '../images/claim.js'
import { withLayerFacts } from '../images/docker/layer-facts.js'
import { identityDifferences } from '../images/identity.js'
import type { Manifest } from '../images/manifest.js'
import type { HeldImage } from '../store/image-store.js'
import { ConflictPolicies, type PolicyInForce } from './conflict-policies.js'

export interface Held {
  readonly image: HeldImage
  /** Its manifest with every digest we measured, also those that nobody had declared: what claims are compared with. */
  readonly measured: Manifest
}

export interface Winner {
  readonly manifest: Manifest
  /** What claims must agree with: of a held image, what was measured. */
  readonly identity: Manifest
  /** The upstream's name, or what a person would call the other possibility. */
  readonly name: string
}

/** Why an image is kept from everybody. */
export interface Withheld extends PolicyInForce {
  /** The held image, else what the first upstream in order claims: what other claims are compared with, for people. */
  readonly reference: Winner
  /** In words: what would have to be otherwise. */
  readonly why: string
}

/** Neither, while nobody has the image any more. */
export interface Choice {
  readonly winner?: Winner
  readonly withheld?: Withheld
}

const NOTHING: Choice = {}

/**
 * Which of the claims about an image stands, if any does.
 *
 * Our own images stand, whatever is claimed. A held image is the only one that may stand under its uuid: a policy
 * may withhold it, never put another one in its place. Policies look at what stands; only of a held image, and for
 * `first-seen`, counts what was withdrawn too, since an upstream that grows silent takes nothing back.
 *
 * @param claims in order of precedence, withdrawn ones included.
 */
export function chooseWinner(
  claims: readonly Claim[],
  held: Held | undefined,
  policies: ConflictPolicies = new ConflictPolicies(),
): Choice {
  if (held && isOurs(held)) return { winner: ownWinner(held) }
  const standing = claims.filter(stands)
  const reference = held ? heldWinner(held, claims) : standing[0] && winnerOf(standing[0])
  if (!reference) return NOTHING
  const inForce = policies.for(reference.manifest)
  const verdict = judge({ claims, standing, held, reference, policies }, inForce)
  return typeof verdict === 'string' ? { withheld: { ...inForce, reference, why: verdict } } : { winner: verdict }
}

/** Of what was published here, nobody else's word counts. */
export function isOurs(held: Held | undefined): boolean {
  return held?.image.publication !== undefined
}

export function stands(claim: Claim): boolean {
  return claim.withdrawnMs === undefined
}

interface Case {
  readonly claims: readonly Claim[]
  readonly standing: readonly Claim[]
  readonly held: Held | undefined
  readonly reference: Winner
  readonly policies: ConflictPolicies
}

/** The winner, or why there is none. */
function judge(each: Case, { policy }: PolicyInForce): Winner | string {
  if (policy === 'prefer-order') return each.reference
  if (policy === 'first-seen') return each.held ? each.reference : firstSeen(each)
  if (policy === 'withhold') return unlessDisputed(each)
  return 'quorum' in policy ? byQuorum(each, policy.quorum) : bySayingOf(each, policy.upstream)
}

function firstSeen({ claims, standing }: Case): Winner | string {
  const first = claims.reduce((earliest, claim) => (claim.firstHeardMs < earliest.firstHeardMs ? claim : earliest))
  if (stands(first)) return winnerOf(first)
  const heir = standing.find((claim) => agree(first.manifest, claim.manifest))
  if (heir) return winnerOf(heir)
  const differences = identityDifferences(first.manifest, standing[0]!.manifest).join(', ')
  return `it was heard first from ${first.upstream}, which has withdrawn it, and ${listOf(standing)} ${standing.length === 1 ? 'claims' : 'claim'} something else: ${differences}`
}

function unlessDisputed({ standing, held, reference }: Case): Winner | string {
  if (held) {
    const dissenter = standing.find(({ manifest }) => !agree(held.measured, manifest))
    if (!dissenter) return reference
    return `${dissenter.upstream} disagrees with the held image: ${identityDifferences(held.measured, dissenter.manifest).join(', ')}`
  }
  for (const [place, one] of standing.entries()) {
    for (const other of standing.slice(place + 1)) {
      const differences = identityDifferences(one.manifest, other.manifest)
      if (differences.length > 0) return `${one.upstream} and ${other.upstream} disagree: ${differences.join(', ')}`
    }
  }
  return reference
}

function byQuorum({ claims, standing, held, reference, policies }: Case, quorum: number): Winner | string {
  const voicesFor = (identity: Manifest, among: readonly Claim[]) =>
    new Set(
      among.filter(({ manifest }) => vouches(manifest, identity)).map(({ upstream }) => policies.voiceOf(upstream)),
    )
  const candidates = held ? [reference] : standing.map(winnerOf)
  const winner = candidates.find(({ identity }) => voicesFor(identity, held ? claims : standing).size >= quorum)
  if (!winner) {
    const best = voicesFor(reference.identity, held ? claims : standing)
    return `${quorum} voices must agree on it, and ${best.size === 0 ? 'none does' : `these do: ${[...best].join(', ')}`}`
  }
  const rival = standing.find(
    ({ manifest }) => !agree(winner.identity, manifest) && voicesFor(manifest, standing).size >= quorum,
  )
  if (!rival) return winner
  const differences = identityDifferences(winner.identity, rival.manifest).join(', ')
  return `${quorum} voices agree on one image, and ${quorum} on another, which is the one of ${rival.upstream}: ${differences}`
}

function bySayingOf({ claims, held }: Case, upstream: string): Winner | string {
  const claim = claims.find((each) => each.upstream === upstream)
  if (!claim) return `only ${upstream} is believed, which has not told of it`
  if (!held) return stands(claim) ? winnerOf(claim) : `only ${upstream} is believed, which has withdrawn it`
  if (agree(held.measured, claim.manifest)) return heldWinner(held, [claim])
  const differences = identityDifferences(held.measured, claim.manifest).join(', ')
  return `only ${upstream} is believed, and what is held is not what it claims: ${differences}`
}

function ownWinner({ image, measured }: Held): Winner {
  return { manifest: image.manifest, identity: measured, name: 'the image published here' }
}

/** Its identity is what was measured; everything else is as the first says who agrees and promises as much. */
function heldWinner({ image, measured }: Held, claims: readonly Claim[]): Winner {
  const { manifest: promised, files } = image
  const isLayer = files[0]?.layer !== undefined
  const agrees = ({ manifest }: Claim) => agree(measured, manifest) && (isLayer || declaresAll(manifest, promised))
  const agreeing = claims.find((claim) => stands(claim) && agrees(claim)) ?? claims.find(agrees)
  return { manifest: asHeld(agreeing?.manifest ?? promised, image), identity: measured, name: 'the held image' }
}

function winnerOf({ manifest, upstream }: Claim): Winner {
  return { manifest, identity: manifest, name: upstream }
}

function agree(one: Manifest, other: Manifest): boolean {
  return one === other || identityDifferences(one, other).length === 0
}

/** Agreement that says something: of each file, one digest at least is declared by both. */
function vouches(one: Manifest, other: Manifest): boolean {
  if (one === other) return true
  return (
    agree(one, other) &&
    one.files.every(({ digests }, index) =>
      digests.some(({ algorithm }) => other.files[index]?.digests.some((each) => each.algorithm === algorithm)),
    )
  )
}

/** What is claimed of a Docker layer, with what only who holds it can know; of any other image just what is claimed. */
function asHeld(manifest: Manifest, { files: [file], manifest: promised }: HeldImage): Manifest {
  if (!file?.layer) return manifest
  const { sizeBytes } = promised.files[0]!
  return withLayerFacts(manifest, { ...file.layer, sha256: file.sha256, sizeBytes })
}

/** Whether every digest that `promised` declares is declared by `manifest` too: a promise must not get weaker. */
function declaresAll(manifest: Manifest, promised: Manifest): boolean {
  return promised.files.every((file, index) =>
    file.digests.every(({ algorithm }) =>
      manifest.files[index]?.digests.some((digest) => digest.algorithm === algorithm),
    ),
  )
}

function listOf(claims: readonly Claim[]): string {
  return claims.map(({ upstream }) => upstream).join(' and ')
}
