// Regions of few shapes, as a GPU gets them, and that their results equal those of the CPU's regions.
import t from 'tap'
import { cutPixels } from '../../lib/images/pixels.js'
import type { UpscaleOptions } from '../../lib/infer/options.js'
import { upscale } from '../../lib/infer/upscale.js'
import type { ModelState } from '../../lib/model-state.js'
import { type InferRegion, type NativeSubnet, native } from '../../lib/native.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import { regionFlops } from '../../lib/tiling/flops.js'
import { evenBandSpan, type Grid, groupSpan, makeGrid } from '../../lib/tiling/grid.js'
import { mergeTiles, regionLimits, regionOf } from '../../lib/tiling/merge.js'
import { largestSquare, mergeSquares, regularRegions } from '../../lib/tiling/regular.js'
import type { UpscaledTile } from '../../lib/types.js'
import { fakeState, fakeTable } from '../support/fake-engine.js'
import { nearest, picture, tilesFrom } from '../support/infer-pictures.js'
import { largestDifference } from '../support/pictures.js'
import { integer, random, shuffle } from '../support/random.js'
import { wrapEngine } from '../support/wrap-engine.js'

const subnets: NativeSubnet[] = [0, 1, 2].map((index) => ({
  index,
  width: 8,
  depth: 1,
  flops: 1024 * 100 * (index + 1),
  tailFlops: 1024 * 60,
  parameters: 1,
  receptiveField: 11,
  tailField: 2,
}))
const context = { halo: 4, blend: 2, regionPixels: 1 << 18 }

t.test('squares cover each tile once, of one subnet, aligned to their size', async (t) => {
  const next = random(5)
  for (let run = 0; run < 300; run++) {
    const [columns, rows, largest, kinds] = [
      integer(next, 1, 13),
      integer(next, 1, 9),
      [1, 2, 4][integer(next, 0, 2)]!,
      integer(next, 0, 2),
    ]
    const map = Int32Array.from({ length: columns * rows }, () => integer(next, -1, kinds))
    const merged = mergeSquares(map, columns, 3, largest)
    const count = new Uint8Array(map.length)
    for (const { column, row, columns: wide, rows: high, subnet } of merged) {
      if (wide !== high || wide > largest || column % wide !== 0 || (row - 3) % wide !== 0)
        t.fail('not an aligned square')
      for (let y = row - 3; y < row - 3 + high; y++)
        for (let x = column; x < column + wide; x++) {
          count[y * columns + x]!++
          if (map[y * columns + x] !== subnet) t.fail('another subnet')
        }
    }
    if (!count.every((n, i) => n === (map[i]! < 0 ? 0 : 1)))
      t.fail(`not covered once: ${map.join()} in ${columns} columns`)
  }
  t.strictSame(mergeSquares([0, 0, 1, 0, 0, 1, 1, 1, 1], 3, 0, 4), [
    { column: 0, row: 0, columns: 2, rows: 2, subnet: 0 },
    { column: 2, row: 0, columns: 1, rows: 1, subnet: 1 },
    { column: 2, row: 1, columns: 1, rows: 1, subnet: 1 },
    { column: 0, row: 2, columns: 1, rows: 1, subnet: 1 },
    { column: 1, row: 2, columns: 1, rows: 1, subnet: 1 },
    { column: 2, row: 2, columns: 1, rows: 1, subnet: 1 },
  ])
  t.equal(mergeSquares(new Int32Array(64), 8, 0, 4).length, 4)
  t.equal(largestSquare(makeGrid(999, 999, 64), 1 << 18), 4)
  t.equal(largestSquare(makeGrid(999, 999, 64), 40000), 2)
  t.equal(largestSquare(makeGrid(999, 999, 64, 3), 1 << 18), 2)
  t.equal(largestSquare(makeGrid(999, 999, 512), 1), 1)
})

/** Regions of a whole picture by both mergers, with y counted in the picture. */
function bothMergers(grid: Grid, map: Int32Array): { regular: InferRegion[]; irregular: InferRegion[] } {
  const regular: InferRegion[] = []
  const irregular: InferRegion[] = []
  for (let group = 0; group < grid.groups; group++) {
    const { firstRow, endRow } = groupSpan(grid, group)
    const band = evenBandSpan(grid, group, context.halo + context.blend)
    const part = map.subarray(firstRow * grid.columns, endRow * grid.columns)
    const shifted = (region: InferRegion) => ({ ...region, y: region.y + band.top, keepY: region.keepY + band.top })
    regular.push(...regularRegions(grid, group, band, part, subnets, context).map(shifted))
    const { maxColumns, maxRows } = regionLimits(grid, context.regionPixels)
    irregular.push(
      ...mergeTiles(part, grid.columns, firstRow, maxColumns, maxRows).map((merged) =>
        shifted(regionOf(merged, grid, band, subnets[merged.subnet]!, context.halo, context.blend)),
      ),
    )
  }
  return { regular, irregular }
}

/** Sum of the blending weights of every LR pixel (scale 1). */
function weightsOf(grid: Grid, regions: readonly InferRegion[]): Float64Array {
  const weights = new Float64Array(grid.width * grid.height)
  const ramp = (at: number, length: number, before: number, after: number) =>
    (before > at ? (at + 0.5) / before : 1) * (after > length - 1 - at ? (length - at - 0.5) / after : 1)
  for (const r of regions) {
    for (let y = 0; y < r.keepHeight; y++) {
      const wy = ramp(y, r.keepHeight, r.rampTop, r.rampBottom)
      for (let x = 0; x < r.keepWidth; x++)
        weights[(r.keepY + y) * grid.width + r.keepX + x]! += wy * ramp(x, r.keepWidth, r.rampLeft, r.rampRight)
    }
  }
  return weights
}

t.test('input windows lie inside, contain the halo of the kept part, and have few shapes', async (t) => {
  const next = random(9)
  for (const [width, height, tile] of [
    [1920, 1080, 64],
    [500, 777, 32],
    [64, 64, 64],
    [65, 300, 16],
    [30, 20, 64],
  ] as const) {
    const grid = makeGrid(width, height, tile)
    const map = Int32Array.from({ length: grid.columns * grid.rows }, () =>
      integer(next, 0, 9) === 0 ? integer(next, 0, 2) : 1,
    )
    const { regular, irregular } = bothMergers(grid, map)
    for (const r of regular) {
      const inside = r.x >= 0 && r.y >= 0 && r.x + r.width <= width && r.y + r.height <= height
      const halo = [
        r.keepX - r.x,
        r.keepY - r.y,
        r.x + r.width - r.keepX - r.keepWidth,
        r.y + r.height - r.keepY - r.keepHeight,
      ]
      const wanted = [
        Math.min(context.halo, r.keepX),
        Math.min(context.halo, r.keepY),
        Math.min(context.halo, width - r.keepX - r.keepWidth),
        Math.min(context.halo, height - r.keepY - r.keepHeight),
      ]
      if (!inside || halo.some((n, i) => n < wanted[i]!)) t.fail(`${JSON.stringify(r)} of ${width}x${height}`)
    }
    const shapes = (regions: readonly InferRegion[]) => new Set(regions.map((r) => `${r.width}x${r.height}`)).size
    t.ok(
      shapes(regular) <= 3 + 2,
      `${width}x${height}: ${shapes(regular)} shapes, ${shapes(irregular)} of the irregular merger`,
    )
    const flops = (regions: readonly InferRegion[]) =>
      regions.reduce((sum, r) => sum + regionFlops(r, subnets[r.subnet]!), 0)
    if (width > 8 * tile)
      t.ok(
        flops(regular) < 1.25 * flops(irregular),
        `${width}x${height}: cost ${(flops(regular) / flops(irregular)).toFixed(3)} times the irregular merger's`,
      )
  }
})

t.test('weights of neighbours sum to one, as with the irregular merger', async (t) => {
  const next = random(11)
  for (let run = 0; run < 40; run++) {
    const grid = makeGrid(integer(next, 20, 200), integer(next, 20, 150), 16, integer(next, 1, 5))
    const map = Int32Array.from({ length: grid.columns * grid.rows }, () => Math.min(2, integer(next, 0, 5)))
    const { regular, irregular } = bothMergers(grid, run % 4 === 0 ? map.fill(1) : map)
    // Tiles narrower than the overlap extend less far over their edges than their neighbours do; the sums are divided by the weights.
    const narrow = [grid.width % 16, grid.height % 16].some((rest) => rest > 0 && rest < 4)
    for (const [name, regions] of Object.entries({ regular, irregular })) {
      const weights = weightsOf(grid, regions)
      const wrong = weights.filter((w) => Math.abs(w - 1) > 1e-12).length
      if (narrow ? weights.some((w) => !(w > 0)) : wrong > 0)
        t.fail(`${name}: ${wrong} of ${weights.length} in ${grid.width}x${grid.height}, ${grid.groupRows} rows`)
    }
  }
  t.pass('sums of weights')
})

t.test('a group of one subnet is cut evenly, for any tile size', async (t) => {
  const grid = makeGrid(1920, 1080, 64, 8)
  const { firstRow, endRow } = groupSpan(grid, 1)
  const band = evenBandSpan(grid, 1, 6)
  const regions = regularRegions(
    grid,
    1,
    band,
    new Int32Array((endRow - firstRow) * grid.columns).fill(2),
    subnets,
    context,
  )
  t.equal(regions.length, 4)
  t.strictSame(new Set(regions.map((r) => `${r.width}x${r.height}`)), new Set(['492x524']))
  t.equal(
    regions.reduce(
      (sum, r) =>
        sum + (r.keepWidth - (r.rampLeft + r.rampRight) / 2) * (r.keepHeight - (r.rampTop + r.rampBottom) / 2),
      0,
    ),
    1920 * 512,
  )
  const image = makeGrid(1920, 1080, 1920)
  t.strictSame(
    regularRegions(image, 0, { top: 0, bottom: 1080 }, [1], subnets, { ...context, regionPixels: 256 }).map(
      ({ width, height }) => [width, height],
    ),
    [[1920, 1080]],
    'never smaller than a tile',
  )
})

t.test('with equal subnets, any size and any router give plain nearest upscaling', async (t) => {
  const routers: UpscaleOptions[] = [
    { router: 'projection' },
    { router: 'calibrated', budget: 0.6 },
    { router: { subnet: 1 } },
    { router: 'projection', tile: 'image' },
    { router: 'projection', halo: 0 },
    { router: 'projection', halo: 40, tile: 16, groupRows: 1 },
    { router: 'projection', regionPixels: 2048 },
  ]
  for (const [width, height] of [
    [1, 1],
    [1, 90],
    [90, 1],
    [65, 63],
    [64, 64],
    [200, 130],
    [33, 301],
  ] as const) {
    for (const channels of [3, 4] as const) {
      const image = picture(width, height, channels)
      const expected =
        channels === 3 ? nearest(image, 2) : (await upscale(fakeState(), image, { tile: 32, groupRows: 2 })).data
      for (const options of channels === 3 ? routers : routers.slice(0, 1)) {
        const state = fakeState({ regular: true })
        const result = await upscale(state, image, { tile: 32, groupRows: 2, ...options })
        t.equal(
          largestDifference(result.data, expected),
          0,
          `${width}x${height}x${channels} ${JSON.stringify(options)}`,
        )
      }
    }
  }
})

t.test('a stream gives the same picture as upscale', async (t) => {
  const image = picture(120, 300)
  const options = { router: 'projection', groupRows: 3 } as const
  const expected = await upscale(fakeState({ regular: true, offset: (n) => n * 0.05 }), image, {
    ...options,
    tile: 16,
    budgetScope: 'dataset',
  })
  for (const tiles of [tilesFrom(image, 16, 16), shuffle(random(1), tilesFrom(image, 16, 16))]) {
    const stream = createInferStream(fakeState({ regular: true, offset: (n) => n * 0.05 }), options)
    for (const tile of tiles) stream.write(tile)
    stream.end()
    let largest = 0
    for await (const tile of stream as AsyncIterable<UpscaledTile>) {
      largest = Math.max(
        largest,
        largestDifference(tile.data, cutPixels(expected.data, 240, 3, tile.x, tile.y, tile.width, tile.height)),
      )
    }
    t.equal(largest, 0)
  }
})

t.test('on the CPU both kinds of regions give the same picture', async (t) => {
  const network = srresnet({ scale: 2, widths: [8, 16], depths: [2, 3] })
  const engine = new native.Engine(network.graph, { threads: 2 })
  engine.initialise(1)
  engine.setArena(
    'weights',
    engine.getArena('weights').map((w) => 3 * w),
  )
  const irregular: ModelState = {
    engine,
    network,
    classes: { count: 4, thresholds: [0.02, 0.05, 0.1], kind: 'interval' },
    router: fakeTable(4, 4),
    mixture: null,
    training: null,
    fallbackReason: null,
    disposed: false,
  }
  const regular: ModelState = { ...irregular, engine: wrapEngine(engine, { device: { regular: true } }) }
  const image = picture(201, 170, 3, 'float')
  const far = engine.subnets.at(-1)!.receptiveField
  for (const router of ['projection', { subnet: 3 }] as const) {
    const options: UpscaleOptions = { router, tile: 16, budgetScope: 'dataset' }
    const [a, b] = [
      await upscale(irregular, image, { ...options, halo: far }),
      await upscale(regular, image, { ...options, halo: far }),
    ]
    t.same(a.allocation.tiles, b.allocation.tiles)
    t.ok(
      largestDifference(a.data, b.data) < 2e-5,
      `halo of the receptive field, ${JSON.stringify(router)}: ${largestDifference(a.data, b.data)}`,
    )
  }
  // With less halo both differ from the whole picture, and from each other by no more than that.
  const whole = await upscale(irregular, image, { router: { subnet: 3 }, tile: 'image' })
  const options: UpscaleOptions = { router: { subnet: 3 }, tile: 16, regionPixels: 4096 }
  const [a, b] = [await upscale(irregular, image, options), await upscale(regular, image, options)]
  const [fromWhole, apart] = [
    Math.max(largestDifference(a.data, whole.data), largestDifference(b.data, whole.data)),
    largestDifference(a.data, b.data),
  ]
  t.ok(fromWhole > 0 && apart <= 2 * fromWhole, `${apart} of ${fromWhole}`)
  engine.dispose()
})
