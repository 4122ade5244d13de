// Options of the infer stream: their meaning, defaults and checks.
import type { ModelState } from '../model-state.js'
import { checkInteger, checkObject } from '../options.js'
import { checkRouting, ROUTING_KEYS, type RoutingOptions, type RoutingSettings } from '../routing/options.js'

export interface StreamOptions extends RoutingOptions {
  /** Largest batch of tiles without `picture`. Default 16. */
  batchTiles?: number
  /** Of the readable side, in tiles. Default 16. */
  highWaterMark?: number
}

/** Checked options with defaults. */
export interface StreamSettings extends RoutingSettings {
  batchTiles: number
  highWaterMark: number
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkStreamOptions(value: unknown, state: ModelState): StreamSettings {
  const options = checkObject(value, 'infer stream options', [...ROUTING_KEYS, 'batchTiles', 'highWaterMark'])
  return {
    ...checkRouting(options, state),
    batchTiles: checkInteger(options.batchTiles ?? 16, 'batchTiles', 1, 65536),
    highWaterMark: checkInteger(options.highWaterMark ?? 16, 'highWaterMark', 1, 1 << 20),
  }
}
