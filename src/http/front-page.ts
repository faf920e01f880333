import { html } from '../parts/html.js'
import type { Context } from './every-request.js'
import { isForPeople } from './is-for-people.js'
import { sendPage } from './page.js'
import type { PublicAddress } from './public-address.js'
import { sendJson } from './send-json.js'

const WAYS: readonly (readonly [path: string, meaning: string])[] = [
  ['datasets/', 'a directory of all images, for people; the older dataset API (DSAPI) for machines'],
  ['images', 'all images, in the words of the image API (IMGAPI)'],
  ['ping', 'whether we are up'],
]

/** `/`: what this is, for whoever stumbles upon it. */
export async function frontPage(context: Context, version: string, address: PublicAddress): Promise<void> {
  const base = address.of(context) || 'http://<this server>'
  const source = `imgadm sources -a ${base}`
  if (isForPeople(context)) {
    await sendPage(
      context,
      'imgapi-mirror',
      html`<h1>imgapi-mirror ${version}</h1>
<p>A mirror of SmartOS and Triton images.</p>
<ul>
${WAYS.map(([path, meaning]) => html`<li><a href="${path}">/${path}</a>: ${meaning}</li>\n`)}</ul>
<p>On a SmartOS host:</p>
<pre>${source}</pre>`,
    )
    return
  }
  const links = Object.fromEntries(WAYS.map(([path, meaning]) => [`/${path}`, meaning]))
  await sendJson(context, { name: 'imgapi-mirror', version, source, links }, { cacheControl: 'no-cache' })
}
