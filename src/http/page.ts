import { createHash } from 'node:crypto'
import { Html, html } from '../parts/html.js'
import type { Context } from './every-request.js'
import { sendText } from './send-text.js'

/** Small, plain, and readable on a phone and in the dark. */
const STYLE = `
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.5rem 0}
ul.images{list-style:none;padding:0}
ul.images li{padding:.5rem 0;border-top:1px solid #8886}
small,dt{color:#777}
dt{font-size:.85rem}
dd{margin:0 0 .5rem}
pre{overflow-x:auto;background:#8882;padding:.75rem}
input,button{font:inherit}
nav a{margin-right:1rem}
`

/** No script, nothing from elsewhere, in nobody's frame: what upstreams say of images can do no more than be read. */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Answers 200 with a page for people. */
export async function sendPage(context: Context, title: string, content: Html): Promise<void> {
  const { text } = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
${content}
</body>
</html>
`
  context.set({
    'Content-Security-Policy': POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
  })
  const tag = createHash('sha1').update(text).digest('hex')
  await sendText(context, text, { contentType: 'text/html; charset=utf-8', cacheControl: 'no-cache', tag })
}
