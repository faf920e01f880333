import type { ImageRow } from '../mirror/operations/image-answers.js'
import { formatAgo, formatSize } from './amounts.js'
import type { Column } from './table.js'

/** Of tables of images, in imgadm's order, and with what only a mirror knows behind it. */
const UUID: Column<ImageRow> = { name: 'uuid', value: ({ uuid }) => uuid }
const NAME: Column<ImageRow> = { name: 'name', value: ({ name }) => name, shrinksTo: 8 }
const VERSION: Column<ImageRow> = { name: 'version', value: ({ version }) => version, shrinksTo: 8 }
const OS: Column<ImageRow> = { name: 'os', value: ({ os }) => os, isMinor: true }
const TYPE: Column<ImageRow> = { name: 'type', value: ({ type }) => type, isMinor: true }
const PUB: Column<ImageRow> = {
  name: 'pub',
  aliases: ['published', 'published_at'],
  value: ({ publishedMs }) => publishedMs,
  text: (row) => dayOf(row.publishedMs),
}
const SIZE: Column<ImageRow> = {
  name: 'size',
  value: ({ sizeBytes }) => sizeBytes,
  text: ({ sizeBytes }) => formatSize(sizeBytes),
  isRight: true,
  isMinor: true,
}
const HELD: Column<ImageRow> = {
  name: 'held',
  value: ({ isHeld }) => isHeld,
  text: ({ isHeld, isPinned }) => (isPinned ? 'pinned' : isHeld ? 'yes' : undefined),
}
const EXTRA: readonly Column<ImageRow>[] = [
  { name: 'state', isExtra: true, value: ({ state }) => state },
  { name: 'public', isExtra: true, value: ({ isPublic }) => isPublic },
  { name: 'origin', isExtra: true, value: ({ origin }) => origin },
  { name: 'upstream', isExtra: true, value: ({ upstream }) => upstream },
  { name: 'pinned', isExtra: true, value: ({ isPinned }) => isPinned },
  {
    name: 'since',
    isExtra: true,
    value: ({ heldSinceMs }) => heldSinceMs,
    text: ({ heldSinceMs }) => agoOf(heldSinceMs),
  },
  { name: 'read', isExtra: true, value: ({ lastReadMs }) => lastReadMs, text: ({ lastReadMs }) => agoOf(lastReadMs) },
]

/** Every image that there is to be had. */
export const AVAILABLE_COLUMNS = [UUID, NAME, VERSION, OS, TYPE, PUB, HELD, { ...SIZE, isExtra: true }, ...EXTRA]
/** Images that are held. */
export const HELD_COLUMNS = [UUID, NAME, VERSION, OS, TYPE, PUB, SIZE, { ...HELD, isExtra: true }, ...EXTRA]
/** How an image is made of others. */
export const ANCESTRY_COLUMNS = [UUID, NAME, VERSION, { ...SIZE, isMinor: false }, HELD]

/** As imgadm sorts. */
export const BY_DATE = 'pub,name'

function dayOf(ms: number | null): string | undefined {
  return ms === null ? undefined : new Date(ms).toISOString().slice(0, 10)
}

function agoOf(ms: number | null): string | undefined {
  return ms === null ? undefined : formatAgo(ms)
}
