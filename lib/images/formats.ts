// Formats that pictures are written in, by the names of files.
import path from 'node:path'
import { invalidOption } from '../errors.js'
import { checkString } from '../options.js'

const FORMATS = {
  '.png': 'png',
  '.jpg': 'jpeg',
  '.jpeg': 'jpeg',
  '.webp': 'webp',
  '.tif': 'tiff',
  '.tiff': 'tiff',
  '.avif': 'avif',
} as const

export type OutputFormat = (typeof FORMATS)[keyof typeof FORMATS]

/** Of which format a file is to be, by its name. @throws WbsrError WBSR_INVALID_OPTION */
export function outputFormat(file: unknown, name: string): OutputFormat {
  const extension = path.extname(checkString(file, name)).toLowerCase()
  if (!Object.hasOwn(FORMATS, extension))
    throw invalidOption(name, `a file name ending in ${Object.keys(FORMATS).join(', ')}`, file)
  return FORMATS[extension as keyof typeof FORMATS]
}
