// PSNR over seconds: every subnet on the whole picture against the routers, measured and drawn.
import { writeFile } from 'node:fs/promises'
import { psnr } from 'wbsr'
import { SCALE } from './compare.mjs'
import { alignedTable } from './table.mjs'

/** @typedef {import('wbsr').RawImage} RawImage */
/** @typedef {import('wbsr').SupernetModel} SupernetModel */
/** @typedef {'resize' | 'static' | 'largest' | 'routed'} Kind */
/** Seconds and PSNR of one way to enlarge. @typedef {{ name: string, kind: Kind, psnr: number, seconds: number }} Point */

const COLOURS = { resize: '#888', static: '#3366cc', largest: '#3366cc', routed: '#cc3311' }

/**
 * PSNR over seconds as an SVG picture of 800 x 480 pixels; pictures of mere resizing are not drawn, they would be far off.
 * @param {string} title
 * @param {Point[]} points
 */
export function paretoDrawing(title, points) {
  const shown = points.filter((p) => p.kind !== 'resize')
  const [left, top, width, height] = [70, 40, 640, 380]
  const most = Math.max(...shown.map((p) => p.seconds)) * 1.05
  const levels = shown.map((p) => p.psnr)
  const [low, high] = [Math.min(...levels) - 0.02, Math.max(...levels) + 0.02]
  const x = (/** @type {number} */ seconds) => left + (seconds / most) * width
  const y = (/** @type {number} */ value) => top + ((high - value) / (high - low)) * height
  const marks = shown.map(
    (p) =>
      `<circle cx="${x(p.seconds).toFixed(1)}" cy="${y(p.psnr).toFixed(1)}" r="4" fill="${COLOURS[p.kind]}"><title>${p.name}: ${p.seconds.toFixed(3)} s, ${p.psnr.toFixed(3)} dB</title></circle>` +
      `<text x="${(x(p.seconds) + 6).toFixed(1)}" y="${(y(p.psnr) + 4).toFixed(1)}" font-size="9" fill="#333">${p.name.replace('calibrated, ', '').replace(' whole picture', '')}</text>`,
  )
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap((t) => [
    `<text x="${(left + t * width).toFixed(0)}" y="${top + height + 18}" text-anchor="middle">${(t * most).toFixed(2)}</text>`,
    `<text x="${left - 8}" y="${(top + (1 - t) * height + 4).toFixed(0)}" text-anchor="end">${(low + t * (high - low)).toFixed(2)}</text>`,
  ])
  return `<svg xmlns="http://www.w3.org/2000/svg" width="800" height="480" font-family="sans-serif" font-size="11">
<rect width="800" height="480" fill="#fff"/>
<text x="${left}" y="22" font-size="14">${title}</text>
<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#999"/>
${ticks.join('\n')}
<text x="${left + width / 2}" y="${top + height + 40}" text-anchor="middle">seconds (blue: one subnet, red: routed)</text>
<text x="16" y="${top + height / 2}" transform="rotate(-90 16 ${top + height / 2})" text-anchor="middle">PSNR on Y, dB</text>
${marks.join('\n')}
</svg>
`
}

const ROUNDS = 3

/**
 * Runs every subnet alone and the calibrated router at several losses over pictures, in turns, the best of three rounds each;
 * prints a table and writes a picture.
 * @param {SupernetModel} model
 * @param {{ lr: RawImage, hr: RawImage }[]} pictures
 * @param {string} file SVG
 */
export async function measurePareto(model, pictures, file) {
  const last = model.subnets.length - 1
  /** @type {{ name: string, kind: Kind, options: import('wbsr').UpscaleOptions }[]} */
  const ways = [
    ...model.subnets.map(({ index, width, depth }) => ({
      name: `${width}x${depth} whole picture`,
      kind: /** @type {Kind} */ (index === last ? 'largest' : 'static'),
      options: { router: { subnet: index }, tile: /** @type {const} */ ('image') },
    })),
    ...[0.01, 0.02, 0.05, 0.1].map((loss) => ({
      name: `calibrated, loss ${loss}`,
      kind: /** @type {Kind} */ ('routed'),
      options: { loss },
    })),
  ]
  /** @type {Point[]} */
  const points = ways.map(({ name, kind }) => ({ name, kind, psnr: 0, seconds: 0 }))
  for (const { lr, hr } of pictures) {
    const best = ways.map(() => Infinity)
    for (let round = 0; round < ROUNDS; round++)
      for (const [i, { options }] of ways.entries()) {
        const result = await model.upscale(lr, options)
        best[i] = Math.min(best[i], result.seconds)
        if (round === 0) points[i].psnr += (await psnr(result, hr, { shave: SCALE })) / pictures.length
      }
    for (const [i, seconds] of best.entries()) points[i].seconds += seconds
  }
  const largest = points[last]
  console.log('\nPSNR over seconds, all photographs together, best of three rounds:\n')
  console.log(
    alignedTable(
      ['method', 'PSNR-Y', 'seconds', 'of largest'],
      points.map((p) => [
        p.name,
        p.psnr.toFixed(3),
        p.seconds.toFixed(3),
        `${((100 * p.seconds) / largest.seconds).toFixed(0)} %`,
      ]),
    ),
  )
  await writeFile(file, paretoDrawing('PSNR over seconds', points))
}
