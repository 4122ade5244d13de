// The page that the server shows; what it does is in pages/serve.js.
import { escapeHtml, jsonScript } from '../../pages/document.js'
import type { ModelChoice } from './model-pool.js'

export interface PageSettings {
  models: readonly ModelChoice[]
  /** Whether the first of them was named on the command line. */
  own: boolean
  loopback: boolean
  limits: { megabytes: number; megapixels: number; resultMegapixels: number }
}

const option = (value: string, text: string, selected = false): string =>
  `<option value="${escapeHtml(value)}"${selected ? ' selected' : ''}>${escapeHtml(text)}</option>`

export function servePage({ models, own, loopback, limits }: PageSettings): string {
  const where = loopback
    ? 'Pictures stay on this computer.'
    : 'Pictures are sent to the computer that shows this page, and are removed there after a while.'
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Enlarge pictures - wbsr</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/page.css">
<link rel="stylesheet" href="/assets/viewer.css">
<link rel="stylesheet" href="/assets/serve.css">
</head>
<body>
<main class="serve">
<header><h1>Enlarge pictures</h1>
<p class="faint">${where} At most ${limits.megabytes} MB and ${limits.megapixels} million pixels each.</p></header>
<form id="options">
<label>Size <select name="size">
${option('2', '2 times', true)}${option('3', '3 times')}${option('4', '4 times')}${option('factor', 'another factor …')}${option('width', 'a width in pixels …')}
</select></label>
<label id="amount-label" hidden><span>Factor</span> <input name="amount" type="number" min="1" step="any" inputmode="decimal"></label>
<label>Quality <select name="quality">
${option('best', 'best: all of the network everywhere')}${option('balanced', 'very good, faster', true)}${option('fast', 'good, much faster')}${option('fastest', 'fastest')}
</select></label>
<label>Model <select name="model">
${option('auto', 'the one that suits the picture', !own)}${models.map(({ name, title }, i) => option(name, title, own && i === 0)).join('')}
</select></label>
<label>File type <select name="format">
${option('same', 'as the picture', true)}${option('png', 'PNG')}${option('jpeg', 'JPEG')}${option('webp', 'WebP')}${option('avif', 'AVIF')}${option('tiff', 'TIFF')}
</select></label>
</form>
<label class="drop" id="drop"><input id="files" type="file" multiple accept="image/png,image/jpeg,image/webp,image/gif,image/tiff,image/avif,image/heic">
<strong>Choose pictures</strong> <span>or drop them here, or paste one</span></label>
<ul id="list" aria-label="Pictures"></ul>
<p id="status" class="hidden-text" role="status"></p>
<noscript><p>This page needs JavaScript. On the command line: <code>wbsr upscale PICTURE</code></p></noscript>
</main>
${jsonScript('settings', { limits })}
<script type="module" src="/assets/viewer.js"></script>
<script type="module" src="/assets/serve.js"></script>
</body>
</html>
`
}
