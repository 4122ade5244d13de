// Which subnet ran where, as <wbsr-viewer> (pages/viewer.js) draws it.
import { costColour } from '../infer/overlay.js'
import type { Allocation } from '../infer/result.js'

export interface PageAllocation {
  /** LR pixels. */
  width: number
  height: number
  /** x, y, width, height in LR pixels and the subnet, five numbers a tile. */
  tiles: number[]
  /** Cheapest first. */
  subnets: { label: string; colour: string }[]
}

/** @param subnets of the model, in its order */
export function pageAllocation(
  { tiles }: Pick<Allocation, 'tiles'>,
  subnets: readonly { width: number; depth: number }[],
): PageAllocation {
  return {
    width: tiles.reduce((edge, tile) => Math.max(edge, tile.x + tile.width), 1),
    height: tiles.reduce((edge, tile) => Math.max(edge, tile.y + tile.height), 1),
    tiles: tiles.flatMap(({ x, y, width, height, subnet }) => [x, y, width, height, subnet]),
    subnets: subnets.map(({ width, depth }, i) => ({
      label: `width ${width}, depth ${depth}`,
      colour: hex(costColour(i / Math.max(1, subnets.length - 1))),
    })),
  }
}

const hex = (colour: readonly number[]): string =>
  `#${colour.map((value) => value.toString(16).padStart(2, '0')).join('')}`
