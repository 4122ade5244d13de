// Difficulties and classes of a group's tiles, computed by the device.
import type { ClassTable, ModelState } from '../model-state.js'
import type { RouteResult } from '../native.js'
import { type Grid, groupSpan, tileRects } from '../tiling/grid.js'
import type { PixelArray } from '../types.js'
import { classOf } from './classes.js'
import { difficultiesOf } from './measure.js'

/** Pixels of the picture's rows [top, bottom). mask: 0 where a pixel is missing. */
export interface PixelBand {
  data: PixelArray
  top: number
  bottom: number
  mask?: Uint8Array
  /** The colours without alpha, where alpha is data and they are enlarged on their own. */
  colours?: PixelArray
  /** The picture whose rows these are, if it does not change while it is enlarged: its number (newPicture) and height. */
  picture?: { id: number; rows: number }
}

let pictures = 0

/** A number for NativePixels.picture that no picture of the process has had. */
export const newPicture = (): number => ++pictures

/** Rows [first, end) of interleaved pixels: a view. stride: values of a row. */
export function rowsOf(data: PixelArray, stride: number, first: number, end: number): PixelArray {
  return data.subarray(first * stride, end * stride)
}

/**
 * Difficulties and classes of all tiles of a group, by the measure of the state's classes (see routedState). The band holds all
 * of the group's rows.
 * all: channels of the band's data.
 */
export async function routeGroup(
  { engine, classes }: ModelState,
  band: Pick<PixelBand, 'data' | 'top' | 'colours' | 'picture'>,
  all: 1 | 2 | 3 | 4,
  grid: Grid,
  group: number,
): Promise<RouteResult> {
  const { y0, y1 } = groupSpan(grid, group)
  const channels = (band.colours ? all - 1 : all) as 1 | 2 | 3 | 4
  const data = rowsOf(band.colours ?? band.data, grid.width * channels, y0 - band.top, y1 - band.top)
  if (classes.measure)
    return await routeByMeasure(classes, { data, width: grid.width, height: y1 - y0, channels }, grid, group)
  return engine.route({
    data,
    width: grid.width,
    height: y1 - y0,
    channels,
    ...(band.picture && { picture: { ...band.picture, top: y0 } }),
    tile: grid.tile,
    thresholds: classes.thresholds,
  })
}

/** As the engine's router does, for the measures that devices do not have. */
async function routeByMeasure(
  classes: ClassTable,
  image: { data: PixelArray; width: number; height: number; channels: number },
  grid: Grid,
  group: number,
): Promise<RouteResult> {
  const { firstRow, endRow, y0 } = groupSpan(grid, group)
  const difficulties = await difficultiesOf(classes, image, tileRects(grid, firstRow, endRow, y0))
  return { difficulties, classes: Int32Array.from(difficulties, (difficulty) => classOf(classes, difficulty)) }
}
