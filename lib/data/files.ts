// Which images a run works on: folders, patterns or lists -> files in a fixed order, and the LR file of each HR file.
import path from 'node:path'
import { invalidOption, WbsrError, wrapError } from '../errors.js'
import { expandBraces, filesBelow, glob, isPattern, kindOf } from './glob.js'

const extensions = ['.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.avif']

/** A folder, a pattern or a file, or a list of them. */
export type FileSpec = string | readonly string[]

function isImage(file: string): boolean {
  return extensions.includes(path.extname(file).toLowerCase())
}

async function findOne(spec: string, name: string): Promise<string[]> {
  const kind = await kindOf(spec)
  // A name that exists is taken by its word, even if it contains characters of a pattern.
  if (kind === 'file') return [spec]
  if (kind === 'folder') {
    const images = (await filesBelow(spec)).filter(isImage)
    if (images.length === 0)
      throw new WbsrError('WBSR_NO_DATA', `${name}: no image (${extensions.join(' ')}) in folder ${spec}`)
    return images
  }
  if (!isPattern(spec)) throw new WbsrError('WBSR_NOT_FOUND', `${name}: there is no file or folder ${spec}`)
  const found: string[] = []
  for (const pattern of expandBraces(spec)) {
    if (/[*?]/.test(pattern)) found.push(...(await glob(pattern)).filter(isImage))
    else found.push(...(await findOne(pattern, name)))
  }
  if (found.length === 0)
    throw new WbsrError('WBSR_NO_DATA', `${name}: no image (${extensions.join(' ')}) matches ${spec}`)
  return found
}

/**
 * The image files (png, jpg, jpeg, webp, tif, tiff, avif) of a folder with all its subfolders, of a pattern (`*`, `?`, `**`,
 * `{a,b}`) or of a list of folders, patterns and files; each file once, sorted by path, hidden files left out. A file that is
 * named itself is taken whatever its extension. The order does not depend on the file system or on the order of a list.
 *
 * @param name the option, for messages
 * @throws WbsrError WBSR_NOT_FOUND: a file or folder does not exist; WBSR_NO_DATA: a folder or pattern without images;
 *   WBSR_INVALID_OPTION: not a string or a list of strings
 */
export async function findImages(spec: FileSpec, name: string): Promise<string[]> {
  const list: readonly unknown[] = Array.isArray(spec) ? spec : [spec]
  if (list.length === 0 || !list.every((item) => typeof item === 'string' && item !== '')) {
    throw invalidOption(name, 'a folder, a pattern or a list of image files', spec)
  }
  const found = new Set<string>()
  try {
    for (const item of list as readonly string[])
      for (const file of await findOne(item, name)) found.add(path.normalize(file))
  } catch (error) {
    throw wrapError(error, 'WBSR_IO', name)
  }
  return [...found].sort((a, b) => (a < b ? -1 : 1))
}

/** An HR file and, where LR files are given, its LR file. */
export interface ImagePair {
  hr: string
  lr: string | null
}

/**
 * Finds the LR file of every HR file: one of the same name, or with x2, x3, x4 (_x2 ...) behind the name as the scale is;
 * extensions may differ. Where several subfolders hold the name, the one whose folders agree best with the HR file's is taken.
 *
 * @param name the option, for messages
 * @throws WbsrError WBSR_NOT_FOUND: an HR file without LR file; WBSR_INVALID_OPTION: two LR files that fit equally well; and
 *   what findImages throws
 */
export async function pairImages(
  hrFiles: readonly string[],
  lr: FileSpec,
  scale: number,
  name: string,
): Promise<ImagePair[]> {
  const byName = new Map<string, string[]>()
  for (const file of await findImages(lr, name)) {
    const stem = path.parse(file).name
    byName.set(stem, [...(byName.get(stem) ?? []), file])
  }
  return hrFiles.map((hr) => {
    const stem = path.parse(hr).name
    const stems = [stem, `${stem}x${scale}`, `${stem}_x${scale}`]
    const candidates = stems
      .flatMap((candidate) => byName.get(candidate) ?? [])
      .filter((file) => path.resolve(file) !== path.resolve(hr))
    if (candidates.length === 0) {
      throw new WbsrError(
        'WBSR_NOT_FOUND',
        `${name}: no LR file for ${hr} in ${String(lr)} (looked for ${stems.join(', ')} with any image extension)`,
      )
    }
    const folders = path.dirname(path.resolve(hr)).split('/').reverse()
    const agreement = (file: string): number => {
      const own = path.dirname(path.resolve(file)).split('/').reverse()
      const differs = folders.findIndex((folder, i) => own[i] !== folder)
      return differs < 0 ? folders.length : differs
    }
    const best = Math.max(...candidates.map(agreement))
    const fitting = candidates.filter((file) => agreement(file) === best)
    if (fitting.length > 1) throw invalidOption(name, `one LR file for ${hr}`, fitting)
    return { hr, lr: fitting[0]! }
  })
}

interface Size {
  width: number
  height: number
}

/**
 * LR must be exactly HR / scale, HR cut down (right and bottom) to a multiple of the scale.
 *
 * @throws WbsrError WBSR_INVALID_IMAGE, naming both files and the expected size
 */
export function checkPair(pair: { hr: string; lr: string }, hr: Size, lr: Size, scale: number): void {
  const width = Math.floor(hr.width / scale)
  const height = Math.floor(hr.height / scale)
  if (lr.width === width && lr.height === height) return
  throw new WbsrError(
    'WBSR_INVALID_IMAGE',
    `Expected ${width}x${height} for LR image ${pair.lr} (1/${scale} of ${pair.hr}, ${hr.width}x${hr.height}) but it is ${lr.width}x${lr.height}`,
  )
}
