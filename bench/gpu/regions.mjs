// What the GPU benchmarks need of Node beforehand: photographs and a full HD frame as raw RGB, a model file, and the
// regions into which lib/infer cuts that frame, for routed.cc. Arguments: the folder and, to try the machinery, `tiny` for
// a small frame and a narrow network. Needs dist/ and the built addon.
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { checkUpscaleOptions } from '../../dist/infer/options.js'
import { SupernetModel } from '../../dist/models/model.js'
import { native } from '../../dist/native.js'
import { mapForPicture } from '../../dist/routing/class-map.js'
import { classOf, difficultyOf } from '../../dist/routing/classes.js'
import { groupSpan, makeGrid, tileRects } from '../../dist/tiling/grid.js'
import { overlapOf } from '../../dist/tiling/overlap.js'
import { groupBand, groupRegions } from '../../dist/tiling/regions.js'
import { photographNames, picture, timingState } from '../model.mjs'

const folder = process.argv[2]
if (!folder) throw new Error('Expected a folder as the argument')
const tiny = process.argv[3] === 'tiny'
const [width, height] = tiny ? [40, 36] : [1920, 1080]

/** Four photographs side by side near their own size: enlarged ones would be smooth, and every tile easy. */
async function frame() {
  const quarters = await Promise.all(
    ['airplane-from-above', 'dust-bowl-home', 'nagasaki-boats', 'march-pastoral'].map((name) =>
      picture(name, width / 2, height / 2),
    ),
  )
  const composed = quarters.map(({ data }, i) => ({
    input: Buffer.from(data),
    raw: { width: width / 2, height: height / 2, channels: /** @type {const} */ (3) },
    left: (i % 2) * (width / 2),
    top: Math.floor(i / 2) * (height / 2),
  }))
  const data = await sharp({ create: { width, height, channels: 3, background: 'black' } })
    .composite(composed)
    .removeAlpha()
    .raw()
    .toBuffer()
  return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height, channels: 3 }
}

/** One way through the picture, as upscale() goes it: lines that routed.cc reads. */
async function way(state, image, name, options, routed) {
  const settings = checkUpscaleOptions(options, state)
  const grid = makeGrid(
    width,
    height,
    typeof settings.tile === 'number' ? settings.tile : Math.max(width, height),
    settings.groupRows,
  )
  const overlap = overlapOf(settings.halo, state.engine, false)
  const vectors = await native.gradientVectors(image.data, width, height, 3, tileRects(grid, 0, grid.rows, 0))
  const classes = Array.from({ length: grid.columns * grid.rows }, (_, i) =>
    classOf(state.classes, difficultyOf(vectors, i)),
  )
  const map = mapForPicture(state, settings, grid, classes, overlap)
  const subnets = classes.map((k) => map[k - 1])
  const lines = [`way ${name} ${routed ? map.length : 0} ${routed ? Array.from(map).join(' ') : ''}`.trim()]
  for (let group = 0; group < grid.groups; group++) {
    const { firstRow, endRow, y1 } = groupSpan(grid, group)
    const band = groupBand(state.engine, grid, group, overlap.margin)
    const regions = groupRegions(
      state.engine,
      grid,
      group,
      band,
      subnets.slice(firstRow * grid.columns, endRow * grid.columns),
      overlap,
      settings.regionPixels,
    )
    lines.push(`group ${band.top} ${band.bottom} ${y1 === height ? y1 : y1 - overlap.blend} ${regions.length}`)
    for (const r of regions)
      lines.push(
        [
          r.subnet,
          r.x,
          r.y,
          r.width,
          r.height,
          r.keepX,
          r.keepY,
          r.keepWidth,
          r.keepHeight,
          r.rampLeft,
          r.rampTop,
          r.rampRight,
          r.rampBottom,
        ].join(' '),
      )
  }
  return { lines, settings, grid }
}

mkdirSync(path.join(folder, 'photographs'), { recursive: true })
const index = []
for (const name of photographNames) {
  const { data, width: w, height: h } = await picture(name)
  writeFileSync(path.join(folder, 'photographs', `${name}.rgb`), data)
  index.push(`${name} ${w} ${h}`)
}
writeFileSync(path.join(folder, 'photographs', 'index.txt'), `${index.join('\n')}\n`)

const image = await frame()
writeFileSync(path.join(folder, 'frame.rgb'), image.data)
const state = await timingState(2, tiny ? { scale: 4, widths: [4, 8], depths: [1] } : undefined)
// The regions that lib chooses on a GPU: few shapes, large ones.
const { engine } = state
state.engine = new Proxy(engine, {
  get(target, key) {
    if (key === 'device') return { ...target.device, kind: 'cuda', regular: true }
    const value = Reflect.get(target, key, target)
    return typeof value === 'function' ? value.bind(target) : value
  },
})
const subnet = state.engine.subnets.length - 1
const cut = tiny ? { tile: 16 } : {}
const calibrated = await way(state, image, 'calibrated', { router: 'calibrated', budget: 0.6, ...cut }, true)
const tiled = await way(state, image, 'tiled', { router: { subnet }, ...cut }, false)
const whole = await way(
  state,
  image,
  'whole',
  { router: { subnet }, tile: 'image', regionPixels: width * height },
  false,
)
const { widths, depths, scale } = state.network
writeFileSync(
  path.join(folder, 'regions.txt'),
  [
    `picture ${width} ${height}`,
    `widths ${widths.join(' ')}`,
    `depths ${depths.join(' ')}`,
    `scale ${scale}`,
    `tile ${calibrated.grid.tile}`,
    `batch ${2 * calibrated.settings.regionPixels}`,
    `thresholds ${state.classes.thresholds.join(' ')}`,
    ...calibrated.lines,
    ...tiled.lines,
    ...whole.lines,
    '',
  ].join('\n'),
)
const model = new SupernetModel({ ...state, engine })
await model.save(path.join(folder, 'model.safetensors'))
model.dispose()
