// Checks the shape of a tile. Both ends of the stream do so before they read its pixels.
import { invalidOption } from '../errors.js'
import { checkMetadata } from '../images/metadata.js'
import { checkChoice, checkInteger, checkString } from '../options.js'
import { isPixelArray, ownArray } from '../realms.js'
import type { Tile } from '../types.js'

export type Halo = NonNullable<Tile['halo']>

export const NO_HALO: Halo = { left: 0, top: 0, right: 0, bottom: 0 }

export function haloOf(tile: Tile): Halo {
  return tile.halo ?? NO_HALO
}

/** Does not check the position in the picture. @throws WbsrError WBSR_INVALID_OPTION naming the property */
export function checkTile(value: unknown): Tile {
  if (typeof value !== 'object' || value === null || !('data' in value))
    throw invalidOption('tile', 'an object { x, y, width, height, data, channels }', value)
  let tile = value as Tile
  const { data, width, height, channels, halo, picture } = tile
  if (!isPixelArray(data))
    throw invalidOption('tile.data', 'a Uint8Array, Uint8ClampedArray, Uint16Array or Float32Array', data)
  checkInteger(tile.x, 'tile.x', 0)
  checkInteger(tile.y, 'tile.y', 0)
  checkInteger(width, 'tile.width', 1)
  checkInteger(height, 'tile.height', 1)
  checkInteger(channels, 'tile.channels', 1, 4)
  if (halo !== undefined && (typeof halo !== 'object' || halo === null))
    throw invalidOption('tile.halo', '{ left, top, right, bottom }', halo)
  const { left, top, right, bottom } = haloOf(tile)
  for (const [side, pixels] of Object.entries({ left, top, right, bottom }))
    checkInteger(pixels, `tile.halo.${side}`, 0)
  const count = (left + width + right) * (top + height + bottom) * channels
  if (data.length !== count)
    throw invalidOption(
      'tile.data',
      `${count} values (${left + width + right} x ${top + height + bottom} pixels with halo, ${channels} channels)`,
      data.length,
    )
  const own = ownArray(data)
  if (own !== data) tile = { ...tile, data: own }
  if (tile.alpha !== undefined) checkChoice(tile.alpha, 'tile.alpha', ['opacity', 'data'])
  if (picture === undefined) return tile
  if (typeof picture !== 'object' || picture === null)
    throw invalidOption('tile.picture', '{ width, height, tileSize }', picture)
  checkInteger(picture.width, 'tile.picture.width', 1)
  checkInteger(picture.height, 'tile.picture.height', 1)
  if (picture.name !== undefined) checkString(picture.name, 'tile.picture.name')
  if (picture.page !== undefined) checkInteger(picture.page, 'tile.picture.page', 0)
  if (picture.metadata !== undefined) checkMetadata(picture.metadata, 'tile.picture.metadata')
  if (picture.wrap !== undefined) {
    if (typeof picture.wrap !== 'object' || picture.wrap === null)
      throw invalidOption('tile.picture.wrap', '{ x, y }', picture.wrap)
    checkInteger(picture.wrap.x, 'tile.picture.wrap.x', 0, Math.floor((picture.width - 1) / 2))
    checkInteger(picture.wrap.y, 'tile.picture.wrap.y', 0, Math.floor((picture.height - 1) / 2))
  }
  return tile
}
