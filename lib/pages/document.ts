// A page that is one file: styles, scripts, pictures and data stand in it, nothing is loaded. Its own content security
// policy allows exactly the styles and scripts that were put into it.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The browser's part: pages/ beside lib/ and dist/. */
const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'pages')

/** Styles and scripts of pages/. */
export type Asset =
  | 'page.css'
  | 'viewer.css'
  | 'compare.css'
  | 'report.css'
  | 'serve.css'
  | 'viewer.js'
  | 'compare.js'
  | 'report.js'
  | 'serve.js'

const read = new Map<Asset, string>()

/** The text of a file of pages/. */
export function asset(name: Asset): string {
  let text = read.get(name)
  if (text === undefined) read.set(name, (text = readFileSync(path.join(folder, name), 'utf8')))
  return text
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** Text as HTML, also inside of attributes in quotes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!)
}

/** A value as JSON inside of a script element, which "</script>" and "<!--" in a string must not end. */
export function jsonScript(id: string, value: unknown): string {
  return `<script type="application/json" id="${id}">${JSON.stringify(value).replaceAll('<', '\\u003c')}</script>`
}

export interface PageParts {
  title: string
  styles: readonly Asset[]
  scripts: readonly Asset[]
  /** HTML, of which all texts are escaped. */
  body: string
}

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** The page as HTML. */
export function pageDocument({ title, styles, scripts, body }: PageParts): string {
  const style = `\n${styles.map(asset).join('\n')}`
  const modules = scripts.map((name) => `\n${asset(name)}`)
  const policy = [
    "default-src 'none'",
    'img-src data: blob:',
    `style-src ${hashOf(style)}`,
    `script-src ${modules.map(hashOf).join(' ')}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="wbsr">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
${body}
${modules.map((text) => `<script type="module">${text}</script>`).join('\n')}
</body>
</html>
`
}
