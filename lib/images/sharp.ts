// sharp, loaded when the first picture is decoded or encoded: loading it takes as long as loading the rest of wbsr, and a
// program that upscales pixels or tiles of its own never needs it.
import { createRequire } from 'node:module'
import type sharpModule from 'sharp'

let loaded: typeof sharpModule | undefined

/** The module sharp. */
export function loadSharp(): typeof sharpModule {
  loaded ??= createRequire(import.meta.url)('sharp') as typeof sharpModule
  return loaded
}
