// Which images a run works on: folders, patterns or lists -> files in a fixed order.
import path from 'node:path'
import { invalidOption, WbsrError, wrapError } from '../errors.js'
import { expandBraces, type Found, filesBelow, glob, isPattern, kindOf } from './glob.js'

const extensions = ['.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.avif']

/** A folder, a pattern or a file, or a list of them. */
export type FileSpec = string | readonly string[]

/** A file that is left out of a data set, and why. */
export interface SkippedImage {
  file: string
  reason: string
}

function isImage(file: string): boolean {
  return extensions.includes(path.extname(file).toLowerCase())
}

/** Of what a folder or a pattern gave: files with an image's name, and what else has such a name or could not be read. */
function imagesOf({ files, others }: Found): Found {
  return {
    files: files.filter(isImage),
    others: others.filter(({ file, kind }) => isImage(file) || kind.startsWith('a folder that')),
  }
}

function noData(name: string, where: string, others: Found['others']): WbsrError {
  const left = others.slice(0, 5).map(({ file, kind }) => `\n- ${file} is ${kind}`)
  return new WbsrError('WBSR_NO_DATA', `${name}: no image (${extensions.join(' ')}) ${where}${left.join('')}`)
}

async function findOne(spec: string, name: string): Promise<Found> {
  const kind = await kindOf(spec)
  // A name that exists is taken literally, even if it contains characters of a pattern.
  if (kind === 'file') return { files: [spec], others: [] }
  if (kind === 'folder') {
    const found = imagesOf(await filesBelow(spec))
    if (found.files.length === 0) throw noData(name, `in folder ${spec}`, found.others)
    return found
  }
  if (kind !== null) return { files: [], others: [{ file: spec, kind }] }
  if (!isPattern(spec)) throw new WbsrError('WBSR_NOT_FOUND', `${name}: there is no file or folder ${spec}`)
  const found: Found = { files: [], others: [] }
  for (const pattern of expandBraces(spec)) {
    const { files, others } = /[*?]/.test(pattern) ? imagesOf(await glob(pattern)) : await findOne(pattern, name)
    found.files.push(...files)
    found.others.push(...others)
  }
  if (found.files.length === 0) throw noData(name, `matches ${spec}`, found.others)
  return found
}

/**
 * The image files (png, jpg, jpeg, webp, tif, tiff, avif) of a folder with all its subfolders, of a pattern (`*`, `?`, `**`,
 * `{a,b}`, `{01..99}`) or of a list of folders, patterns and files; each file once, sorted by path, without hidden files. A
 * file that is named itself is taken whatever its extension. The order depends neither on the file system nor on the order
 * of a list.
 *
 * @param name the option, for messages
 * @param skipped gets what has an image's name but is no file (FIFOs, sockets, devices, dangling links, folders without
 *   images), and folders that cannot be read
 * @throws WbsrError WBSR_NOT_FOUND: a file or folder does not exist; WBSR_NO_DATA: a folder or pattern without images;
 *   WBSR_INVALID_OPTION: not a string or a list of strings; WBSR_IO
 */
export async function findImages(spec: FileSpec, name: string, skipped: SkippedImage[] = []): Promise<string[]> {
  const list: readonly unknown[] = Array.isArray(spec) ? spec : [spec]
  if (list.length === 0 || !list.every((item) => typeof item === 'string' && item !== '')) {
    throw invalidOption(name, 'a folder, a pattern or a list of image files', spec)
  }
  const files = new Set<string>()
  const others = new Map<string, Found['others'][number]>()
  try {
    for (const item of list as readonly string[]) {
      const found = await findOne(item, name)
      for (const file of found.files) files.add(path.normalize(file))
      for (const { file, kind } of found.others) others.set(path.normalize(file), { file: path.normalize(file), kind })
    }
  } catch (error) {
    throw wrapError(error, 'WBSR_IO', name)
  }
  if (files.size === 0) throw noData(name, `in ${String(spec)}`, [...others.values()])
  const byPath = (a: string, b: string): number => (a < b ? -1 : 1)
  const left = [...others.values()].sort((a, b) => byPath(a.file, b.file))
  skipped.push(...left.map(({ file, kind }) => ({ file, reason: `is ${kind}, not a file` })))
  return [...files].sort(byPath)
}
