import { type DatasetTerms, datasetFilePath, downgradeManifest } from '../../images/downgrade-manifest.js'
import type { Manifest } from '../../images/manifest.js'
import { type Html, html } from '../../parts/html.js'
import type { Context } from '../every-request.js'
import { sendPage } from '../page.js'
import { sizeText } from './size-text.js'

/** `datasets/<uuid>/` of the poor man's server: links to the manifest and the files, and what there is to know. */
export async function sendDatasetPage(context: Context, manifest: Manifest, terms: DatasetTerms): Promise<void> {
  const { uuid, name, version, origin, files, publishedAt } = manifest
  const v1 = downgradeManifest(manifest, terms)
  const facts: [string, Html | string | undefined][] = [
    ['uuid', uuid],
    ['urn', v1.urn as string],
    ['state', manifest.state],
    ['os', manifest.os],
    ['type', manifest.type],
    ['published', publishedAt],
    ['builds on', origin && html`<a href="../${origin}/">${origin}</a>`],
    ['homepage', typeof v1.homepage === 'string' ? homepageOf(v1.homepage) : undefined],
    ['description', v1.description as string],
  ]
  await sendPage(
    context,
    `${name} ${version}`,
    html`<nav><a href="../">Datasets</a></nav>
<h1>${name} ${version}</h1>
<ul>
<li><a href="../${uuid}">manifest</a> (JSON)</li>
${files.map((file, index) => {
  const path = datasetFilePath(manifest, index)
  return html`<li><a href="${encodeURIComponent(path)}" download>${path}</a>, ${sizeText(file.sizeBytes)}${file.digests.map(
    ({ algorithm, hex }) => html`<br><small>${algorithm} ${hex}</small>`,
  )}</li>
`
})}</ul>
<dl>
${facts.map(([term, text]) => (text ? html`<dt>${term}</dt><dd>${text}</dd>\n` : html``))}</dl>
<pre>${JSON.stringify(v1, null, 2)}</pre>`,
  )
}

/** Every manifest's homepage is http or https; looked at again here, where it becomes something to click on. */
function homepageOf(url: string): Html | string {
  return /^https?:\/\//i.test(url) ? html`<a href="${url}" rel="noreferrer noopener">${url}</a>` : url
}
