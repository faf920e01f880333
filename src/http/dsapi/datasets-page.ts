import type { Manifest } from '../../images/manifest.js'
import { type Html, html } from '../../parts/html.js'
import type { Context } from '../every-request.js'
import { sendPage } from '../page.js'
import { sizeText } from './size-text.js'

/** Images on one page: a phone loads it in no time, and 100,000 images do not make a page of 30 MB. */
const IMAGES_PER_PAGE = 100

/** `datasets/` of the poor man's server: links to the directory of every image, newest first. */
export async function sendDatasetsPage(context: Context, manifests: readonly Manifest[]): Promise<void> {
  const params = new URLSearchParams(context.querystring)
  const search = (params.get('search') ?? '').slice(0, 200)
  const sought = search === '' ? manifests : manifests.filter((manifest) => isFound(manifest, search))
  const pages = Math.max(1, Math.ceil(sought.length / IMAGES_PER_PAGE))
  const page = Math.min(pages, Math.max(1, Math.trunc(Number(params.get('page'))) || 1))
  const end = sought.length - (page - 1) * IMAGES_PER_PAGE
  const shown = sought.slice(Math.max(0, end - IMAGES_PER_PAGE), end).reverse()
  // Relative, so that they lead home from behind a proxy that puts a path before ours.
  const here = context.path.endsWith('/') ? '' : 'datasets/'

  params.delete('page')
  const linkTo = (target: number, text: string) => {
    const query = new URLSearchParams([...params, ['page', String(target)]])
    return html`<a href="?${query.toString()}">${text}</a>`
  }
  await sendPage(
    context,
    'Datasets',
    html`<h1>Datasets</h1>
<form><input name="search" value="${search}" placeholder="name or uuid" aria-label="name or uuid"> <button>Search</button></form>
<p>${sought.length} ${sought.length === 1 ? 'image' : 'images'}${pages > 1 ? `, page ${page} of ${pages}` : ''}</p>
<ul class="images">
${shown.map((manifest) => row(manifest, here))}</ul>
<nav>${page > 1 ? linkTo(page - 1, 'newer') : ''}${page < pages ? linkTo(page + 1, 'older') : ''}</nav>`,
  )
}

function row({ uuid, name, version, os, type, publishedAt, files }: Manifest, here: string): Html {
  const facts = [os, type, publishedAt?.slice(0, 10), files[0] && sizeText(files[0].sizeBytes)]
  return html`<li><a href="${here}${uuid}/">${name} ${version}</a><br>
<small>${uuid} · ${facts.filter((fact) => fact !== undefined).join(' · ')} · <a href="${here}${uuid}">manifest</a></small></li>
`
}

function isFound({ name, version, uuid }: Manifest, search: string): boolean {
  const text = search.toLowerCase()
  return uuid.startsWith(text) || `${name} ${version}`.toLowerCase().includes(text)
}
