import { z } from 'zod'
import { parseFilter } from '../../../images/filter.js'
import { parseUuid } from '../../../images/uuid.js'
import { parsed } from './define-endpoint.js'

/** At once, in one request. */
const MOST_UUIDS = 1000
const MOST_NAMES = 1000

export const uuidText = parsed(parseUuid, 'a lower-case uuid')

export const uuidList = z.array(uuidText).min(1).max(MOST_UUIDS)

export const filterText = parsed(parseFilter, 'a filter').meta({
  description: 'As in the configuration: `name=~base os!=linux files.size<=10GiB`.',
})

export const yesOrNo = z.enum(['true', 'false'], 'right is true or false').transform((text) => text === 'true')

export const upstreamNames = z.array(z.string().max(256)).min(1).max(MOST_NAMES)

export const policyNames = z.array(z.string().max(64)).min(1).max(MOST_NAMES)
