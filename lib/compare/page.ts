// The page of a comparison.
import type { PageAllocation } from '../pages/allocation.js'
import { escapeHtml, jsonScript, pageDocument } from '../pages/document.js'
import type { PageQuality } from '../pages/pictures.js'
import type { CompareFigures } from './options.js'

export interface PagePicture {
  label: string
  src: string
  width: number
  height: number
  /** Size before it was brought to that of the largest. */
  own: { width: number; height: number }
  allocation?: PageAllocation
  map?: string
}

export interface ComparisonPage {
  title: string
  pictures: PagePicture[]
  figures: CompareFigures[]
  quality: PageQuality
}

const decibels = (value: number): string => (Number.isFinite(value) ? `${value.toFixed(2)} dB` : 'equal')

/** PSNR and SSIM in words. */
export function figuresText({ psnr, ssim }: CompareFigures): string {
  if (psnr.rgb === Number.POSITIVE_INFINITY) return 'The two pictures are equal.'
  const similarity = ssim === null ? '' : `, SSIM ${ssim.toFixed(4)}`
  return `PSNR ${decibels(psnr.y)} on Y, ${decibels(psnr.rgb)} on RGB${similarity}`
}

/** Why two pictures have no figures. */
function withoutFigures(pictures: readonly PagePicture[], a: number, b: number): string {
  const size = ({ own }: PagePicture) => `${own.width} × ${own.height}`
  return `No PSNR: the pictures have different sizes, ${size(pictures[a]!)} and ${size(pictures[b]!)} pixels.`
}

export function comparePage({ title, pictures, figures, quality }: ComparisonPage): string {
  const pairs = pictures.flatMap((_, a) =>
    pictures.slice(a + 1).map((__, i) => {
      const b = a + 1 + i
      const found = figures.find((entry) => entry.a === a && entry.b === b)
      return { a, b, text: found ? figuresText(found) : withoutFigures(pictures, a, b) }
    }),
  )
  const { width, height } = pictures[0]!
  const note =
    quality === 'lossless'
      ? 'The pictures stand in this page without loss.'
      : `The pictures stand in this page as WebP of quality ${quality}; figures are of the original pixels.`
  const body = `<main class="compare">
<h1>${escapeHtml(title)}</h1>
<wbsr-viewer data-whole-page></wbsr-viewer>
${table(pictures, figures)}
<p class="faint">${width} × ${height} pixels. ${note} PSNR and SSIM without a border, transparent parts on white.
Keys: arrows move, + and − zoom, 0 shows the whole picture, 1 its pixels.</p>
</main>
${jsonScript('data', { pictures, figures: pairs })}`
  return pageDocument({
    title: `${title} - wbsr compare`,
    styles: ['page.css', 'viewer.css', 'compare.css'],
    scripts: ['viewer.js', 'compare.js'],
    body,
  })
}

function table(pictures: readonly PagePicture[], figures: readonly CompareFigures[]): string {
  if (figures.length === 0) return ''
  const rows = figures.map(
    ({ a, b, psnr, ssim }) =>
      `<tr><td>${escapeHtml(pictures[a]!.label)}</td><td>${escapeHtml(pictures[b]!.label)}</td>` +
      `<td class="number">${decibels(psnr.y)}</td><td class="number">${decibels(psnr.rgb)}</td>` +
      `<td class="number">${ssim === null ? 'too small' : ssim.toFixed(4)}</td>` +
      `<td><button type="button" data-pair="${a},${b}" aria-label="Show ${escapeHtml(
        `${pictures[a]!.label} and ${pictures[b]!.label}`,
      )}">Show</button></td></tr>`,
  )
  return `<div class="scroll" tabindex="0" role="region" aria-label="Figures"><table>
<thead><tr><th>picture</th><th>and</th><th class="number">PSNR Y</th><th class="number">PSNR RGB</th><th class="number">SSIM</th><th></th></tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>`
}
