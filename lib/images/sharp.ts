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

/**
 * Lets go of what libvips keeps of operations: its input files, mapped, and rows. Every read of ours has a file name of its own
 * (source.ts), so nothing of it is ever used again. The limits, which belong to the whole process, stay as they are.
 */
export function dropSharpCache(): void {
  const sharp = loadSharp()
  const { memory, files, items } = sharp.cache()
  sharp.cache({ memory: 0, files: 0, items: 0 })
  sharp.cache({ memory: memory.max, files: files.max, items: items.max })
}
