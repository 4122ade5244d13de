// The tiles of a picture in which quality is measured class by class: their difficulty, and where they lie in HR.

import { native } from '../native.js'
import { makeGrid, tileArea } from '../tiling/grid.js'
import type { RawImage } from '../types.js'
import { difficultyOf } from './classes.js'

/** Side in LR pixels. */
const TILE = 32

/** A tile in HR pixels, without what is shaved. */
export interface PictureTile {
  difficulty: number
  x: number
  y: number
  width: number
  height: number
}

/**
 * Tiles of an RGB picture, row by row; those that lie in the shaved border are left out.
 *
 * @param covered LR pixels from the top left that tiles cover
 * @param hr size of the HR picture, at least `covered` times scale
 * @param shave HR pixels of its border
 */
export async function pictureTiles(
  lr: Pick<RawImage, 'data' | 'width' | 'height'>,
  covered: { width: number; height: number },
  hr: { width: number; height: number },
  scale: number,
  shave: number,
): Promise<PictureTile[]> {
  const grid = makeGrid(covered.width, covered.height, TILE)
  const areas = Array.from({ length: grid.columns * grid.rows }, (_, i) =>
    tileArea(grid, i % grid.columns, Math.floor(i / grid.columns)),
  )
  const rects = Int32Array.from(areas.flatMap(({ x, y, width, height }) => [x, y, width, height]))
  const vectors = await native.gradientVectors(lr.data, lr.width, lr.height, 3, rects)
  return areas.flatMap((area, i): PictureTile[] => {
    const [x, y] = [Math.max(shave, area.x * scale), Math.max(shave, area.y * scale)]
    const right = Math.min(hr.width - shave, (area.x + area.width) * scale)
    const bottom = Math.min(hr.height - shave, (area.y + area.height) * scale)
    if (right <= x || bottom <= y) return []
    return [{ difficulty: difficultyOf(vectors, i), x, y, width: right - x, height: bottom - y }]
  })
}
