import { expect, it } from 'vitest'
import { parseDatasetQuery } from '../../src/images/parse-dataset-query.js'
import { parseListQuery } from '../../src/images/parse-list-query.js'
import { NOBODY } from '../../src/images/viewer.js'

const parse = (query: string) => parseDatasetQuery(new URLSearchParams(query), NOBODY)
const asImgapi = (query: string) => parseListQuery(new URLSearchParams(query), NOBODY)

it.each([
  ['', ''],
  ['name=base&version=1.0.0&os=smartos&type=zvol', 'name=base&version=1.0.0&os=smartos&type=zvol'],
  ['name=~as', 'name=~as'],
  ['creator_uuid=x', 'owner=x'],
  ['limit=1&marker=xyz&sort=name&state=all&owner=x&inclAdminFields=true&channel=dev&tag.a=b', ''],
  ['name=a&name=b', 'name=a&name=b'],
])('?%s asks for the same as ?%s of IMGAPI', (query, imgapi) => {
  expect(parse(query)).toEqual({ images: asImgapi(imgapi), restrictedTo: undefined })
})

it('reads restricted_to_uuid, which finds nothing when it is given twice', () => {
  expect(parse('restricted_to_uuid=x').restrictedTo).toBe('x')
  expect(parse('restricted_to_uuid=x&restricted_to_uuid=y').images.isEmpty).toBe(true)
})
