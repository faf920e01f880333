import type { Uuid } from '../../images/uuid.js'
import type { Prewarming } from '../prewarming/prewarming.js'
import type { WantedByView } from './explanation.js'

/** Which policies want an image: for itself, or for the first image they want that builds on it. */
export function wantedBy(uuid: Uuid, prewarming: Prewarming): readonly WantedByView[] {
  const { policies, standing } = prewarming
  if (!standing) return []
  const images = standing.survey.goals.flatMap((goal) => goal.images)
  return policies.flatMap((policy): readonly WantedByView[] => {
    const wishes = standing.plan.images.filter((planned, place) => {
      const isNeeded = planned.uuid === uuid || images[place]!.files.some(({ manifest }) => manifest.uuid === uuid)
      return planned.policy === policy.name && isNeeded
    })
    const wish = wishes.find((planned) => planned.uuid === uuid) ?? wishes[0]
    if (!wish) return []
    const through = images.find((image) => image.uuid === wish.uuid)!.manifest
    const { name, version } = through
    return [
      {
        policy: policy.name,
        outcome: wish.outcome,
        through: wish.uuid === uuid ? null : { uuid: wish.uuid, name, version },
        doneMs: wish.doneMs === undefined ? null : Math.ceil(wish.doneMs),
        nextOpeningMs: prewarming.nextOpeningMs(policy) ?? null,
      },
    ]
  })
}
