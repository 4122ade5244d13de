// The public surface of wbsr.
export { WbsrError, type WbsrErrorCode } from './errors.js'
export type { ImageInput, PixelArray, RawImage, Tile, UpscaledTile } from './types.js'
export type { StreamOptions, UpscaleOptions, UpscaleProgress } from './infer/options.js'
export type { AllocatedTile, Allocation, UpscaleResult } from './infer/upscale.js'
export type { Router } from './infer/routers.js'
