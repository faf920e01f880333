import type { Page } from '../mirror/operations/image-answers.js'
import type { ApiClient, Query } from './api-client.js'

const PAGE_SIZE = 1000

/** All pages of a list, one after the other. */
export async function listAll<Item>(mirror: ApiClient, path: string, query: Query): Promise<Item[]> {
  const items: Item[] = []
  let marker: string | undefined
  do {
    const page = await mirror.get<Page<Item>>(path, { ...query, limit: PAGE_SIZE, marker })
    for (const item of page.items) items.push(item)
    marker = page.next ?? undefined
  } while (marker !== undefined)
  return items
}
