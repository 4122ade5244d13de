// The public surface of wbsr.
export { WbsrError, type WbsrErrorCode } from './errors.js'
export type { ImageInput, PixelArray, RawImage, Tile, UpscaledTile } from './types.js'
