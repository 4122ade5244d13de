import t from 'tap'
import type { NativeSubnet } from '../../lib/native.js'
import { regionFlops } from '../../lib/tiling/flops.js'
import { bandSpan, groupSpan, makeGrid, tileRects } from '../../lib/tiling/grid.js'
import { mergeTiles, regionLimits, regionOf } from '../../lib/tiling/merge.js'
import { BLEND } from '../../lib/tiling/overlap.js'
import { integer, random } from '../support/random.js'

const subnet: NativeSubnet = {
  index: 0,
  width: 8,
  depth: 2,
  flops: 1024 * 100,
  tailFlops: 1024 * 60,
  parameters: 1,
  receptiveField: 11,
  tailField: 2,
}

t.test('the grid covers the picture once', async (t) => {
  for (const [width, height, tile] of [
    [1, 1, 16],
    [65, 63, 64],
    [200, 130, 32],
    [64, 128, 64],
  ] as const) {
    const grid = makeGrid(width, height, tile, 2)
    const seen = new Uint8Array(width * height)
    for (let group = 0; group < grid.groups; group++) {
      const { firstRow, endRow } = groupSpan(grid, group)
      const rects = tileRects(grid, firstRow, endRow, 0)
      for (let i = 0; i < rects.length; i += 4) {
        const [x, y, w, h] = [rects[i]!, rects[i + 1]!, rects[i + 2]!, rects[i + 3]!]
        for (let row = y; row < y + h; row++)
          for (let column = x; column < x + w; column++) seen[row * width + column]!++
      }
    }
    t.ok(
      seen.every((n) => n === 1),
      `${width}x${height}`,
    )
  }
  t.equal(makeGrid(640, 6400, 64).groupRows, 4)
  t.strictSame(bandSpan(makeGrid(64, 300, 32, 4), 1, 8), { top: 120, bottom: 264 })
})

t.test('merging covers every tile once, within the largest size, for random maps', async (t) => {
  const next = random(1)
  for (let run = 0; run < 200; run++) {
    const [columns, rows, maxColumns, maxRows] = [
      integer(next, 1, 9),
      integer(next, 1, 6),
      integer(next, 1, 5),
      integer(next, 1, 4),
    ]
    const subnets = Int32Array.from({ length: columns * rows }, () => integer(next, -1, 2))
    const merged = mergeTiles(subnets, columns, 3, maxColumns, maxRows)
    const count = new Uint8Array(columns * rows)
    for (const r of merged) {
      if (r.columns > maxColumns || r.rows > maxRows) t.fail('larger than allowed')
      for (let row = r.row - 3; row < r.row - 3 + r.rows; row++) {
        for (let column = r.column; column < r.column + r.columns; column++) {
          count[row * columns + column]!++
          if (subnets[row * columns + column] !== r.subnet) t.fail('another subnet')
        }
      }
    }
    if (!count.every((n, i) => n === (subnets[i]! < 0 ? 0 : 1))) t.fail(`not covered once: ${count.join()}`)
    t.strictSame(mergeTiles(subnets, columns, 3, maxColumns, maxRows), merged)
  }
})

t.test('which tiles are merged', async (t) => {
  const map = [0, 0, 1, 1, 0, 0, 1, 2, 0, 0, 1, 2]
  t.strictSame(mergeTiles(map, 4, 0, 8, 8), [
    { column: 0, row: 0, columns: 2, rows: 3, subnet: 0 },
    { column: 2, row: 0, columns: 2, rows: 1, subnet: 1 },
    { column: 2, row: 1, columns: 1, rows: 2, subnet: 1 },
    { column: 3, row: 1, columns: 1, rows: 2, subnet: 2 },
  ])
  t.strictSame(
    mergeTiles([0, 0, 0, 0, 0], 5, 0, 4, 1).map((r) => r.columns),
    [2, 3],
    'long runs are cut evenly',
  )
  t.strictSame(regionLimits(makeGrid(5000, 5000, 64), 32768), { maxColumns: 4, maxRows: 2 })
  t.strictSame(regionLimits(makeGrid(5000, 5000, 512), 32768), { maxColumns: 1, maxRows: 1 })
})

t.test('a region has its halo and its overlap, and stays inside the picture', async (t) => {
  const grid = makeGrid(200, 130, 32, 2)
  const band = { top: 56, bottom: 130 }
  const inner = regionOf({ column: 1, row: 2, columns: 2, rows: 1, subnet: 0 }, grid, band, subnet, 6, BLEND)
  t.strictSame(inner, {
    picture: 0,
    subnet: 0,
    x: 24,
    y: 0,
    width: 80,
    height: 48,
    keepX: 30,
    keepY: 6,
    keepWidth: 68,
    keepHeight: 36,
    rampLeft: 4,
    rampTop: 4,
    rampRight: 4,
    rampBottom: 4,
  })
  const corner = regionOf({ column: 6, row: 4, columns: 1, rows: 1, subnet: 0 }, grid, band, subnet, 6, BLEND)
  t.strictSame(corner, {
    picture: 0,
    subnet: 0,
    x: 184,
    y: 64,
    width: 16,
    height: 10,
    keepX: 190,
    keepY: 70,
    keepWidth: 10,
    keepHeight: 4,
    rampLeft: 4,
    rampTop: 4,
    rampRight: 0,
    rampBottom: 0,
  })
  t.equal(
    regionOf({ column: 1, row: 2, columns: 1, rows: 1, subnet: 0 }, grid, { top: 0, bottom: 130 }, subnet, 90, 2).width,
    32 + 2 * 13,
    'never more than the receptive field',
  )
  t.equal(regionFlops(inner, subnet), 40 * 80 * 48 + 60 * 72 * 40)
})

t.test('the input of a region leaves out missing pixels', async (t) => {
  const grid = makeGrid(96, 96, 32, 3)
  const mask = new Uint8Array(96 * 96)
  for (let y = 29; y < 70; y++) mask.fill(1, y * 96 + 27, y * 96 + 64)
  const region = regionOf(
    { column: 1, row: 1, columns: 1, rows: 1, subnet: 0 },
    grid,
    { top: 0, bottom: 96, mask },
    subnet,
    6,
    2,
  )
  t.strictSame([region.x, region.y, region.width, region.height], [27, 29, 37, 41])
  t.strictSame([region.keepX, region.keepY, region.keepWidth, region.keepHeight], [30, 30, 34, 36])
  t.equal(region.rampRight, 0)
})
