// The LR file of each HR file, by name, and the sizes that a pair may have.
import path from 'node:path'
import { invalidOption, WbsrError } from '../errors.js'
import { cropTopLeft, type RgbImage } from './decode.js'
import { type FileSpec, findImages, type SkippedImage } from './files.js'

/** An HR file and, where LR files are given, its LR file. */
export interface ImagePair {
  hr: string
  lr: string | null
}

export interface PairedFiles {
  pairs: ImagePair[]
  skipped: SkippedImage[]
}

/** The meaning of the marks in a name: photo_LR4 is the LR file of photo. */
interface MarkedName {
  /** In lower case, without marks. */
  key: string
  side: 'hr' | 'lr' | null
}

/**
 * Takes the marks off a name: HR, GT, HQ; LR, LQ, LRBI (and such), bicubic; x4, 4x, LR4, SRF_4 where 4 is the scale. They stand
 * at the end, or in front of a separator (lr_photo); x4 may follow a name directly, as in DIV2K's 0801x4 and 0801x4m.
 */
function marksOf(stem: string, scale: number): MarkedName {
  const marks: [RegExp, 'hr' | 'lr' | null][] = [
    [/(^|[-_. ])(hr|gt|hq)$/, 'hr'],
    [/^(hr|gt|hq)[-_. ]/, 'hr'],
    [new RegExp(`(^|[-_. ])(lr|lq|lrb[id]|lrdn|bicubic|lr${scale}|lrx${scale})$`), 'lr'],
    [/^(lr|lq)[-_. ]/, 'lr'],
    [new RegExp(`(^|[-_. ])(srf[-_ ]?${scale}|${scale}x)$`), null],
    [new RegExp(`[-_. ]?x${scale}[mdw]?$`), null],
  ]
  let key = stem.toLowerCase()
  let side: MarkedName['side'] = null
  let scaled = false
  for (let found = true; found; ) {
    found = false
    for (const [mark, means] of marks) {
      const rest = key.replace(mark, '')
      if (rest === key) continue
      key = rest
      if (means === null) scaled = true
      // photo_HR_x4 is HR: a mark of HR or LR counts more than a scale.
      else side ??= means
      found = true
    }
  }
  return { key, side: side ?? (scaled ? 'lr' : null) }
}

/** 1: a folder on the path names the scale (lr_x4, X4, SRF_4), -1: one names another scale, 0: neither. */
function folderScale(file: string, scale: number): number {
  const named = path
    .dirname(file)
    .split('/')
    .flatMap((folder) => [...folder.matchAll(/(?:x|lr|srf[-_ ]?)([2-9])(?![0-9])/gi)].map((match) => match[1]))
  if (named.length === 0) return 0
  return named.at(-1) === String(scale) ? 1 : -1
}

function groupBy(files: readonly string[], keyOf: (file: string) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const file of files) {
    const group = groups.get(keyOf(file))
    if (group) group.push(file)
    else groups.set(keyOf(file), [file])
  }
  return groups
}

function best(candidates: string[], rank: (file: string) => number): string[] {
  const ranks = candidates.map(rank)
  const highest = Math.max(...ranks)
  return candidates.filter((_, i) => ranks[i] === highest)
}

/**
 * Finds the LR file of every HR file: one of the same name or with x2, x3, x4 (_x2 ...) behind the name as the scale is; else
 * one whose name is the same without its marks (photo_SRF_4_HR and photo_SRF_4_LR, photo and photo_LR4 or photo_LRBI_x4,
 * lower and upper case alike). Extensions may differ. Of several, the one whose folders agree best with the HR file's is
 * taken, then one in a folder that names the scale (lr_x4). HR and LR files may lie in one folder, if their names tell them
 * apart.
 *
 * @param name the option, for messages
 * @returns pairs in the order of the HR files; skipped: HR files without LR file, and what findImages skips
 * @throws WbsrError WBSR_NOT_FOUND: no HR file has an LR file; WBSR_INVALID_OPTION: two LR files that fit equally well; and
 *   what findImages throws
 */
export async function pairImages(
  hrFiles: readonly string[],
  lr: FileSpec,
  scale: number,
  name: string,
): Promise<PairedFiles> {
  const skipped: SkippedImage[] = []
  const lrFiles = await findImages(lr, name, skipped)
  const byStem = groupBy(lrFiles, (file) => path.parse(file).name)
  const marked = new Map(lrFiles.map((file) => [file, marksOf(path.parse(file).name, scale)]))
  const byKey = groupBy(lrFiles, (file) => marked.get(file)!.key)
  const known = new Set(lrFiles.map((file) => path.resolve(file)))

  const pairs: ImagePair[] = []
  const without: SkippedImage[] = []
  for (const hr of hrFiles) {
    const stem = path.parse(hr).name
    const own = marksOf(stem, scale)
    // One folder for both: this is the LR file of another.
    if (own.side === 'lr' && known.has(path.resolve(hr))) continue
    const stems = [stem, `${stem}x${scale}`, `${stem}_x${scale}`]
    const other = (file: string): boolean => path.resolve(file) !== path.resolve(hr)
    const plain = stems.flatMap((candidate) => byStem.get(candidate) ?? []).filter(other)
    const candidates =
      plain.length > 0
        ? plain
        : (byKey.get(own.key) ?? []).filter((file) => other(file) && marked.get(file)!.side !== 'hr')
    if (candidates.length === 0) {
      const looked = `${stems.join(', ')} or ${own.key} with marks such as _LR, _LR${scale}, _SRF_${scale}_LR`
      without.push({
        file: hr,
        reason: `no LR file in ${String(lr)} (looked for ${looked}, with any image extension)`,
      })
      continue
    }
    const folders = path.dirname(path.resolve(hr)).split('/').reverse()
    const agreement = (file: string): number => {
      const theirs = path.dirname(path.resolve(file)).split('/').reverse()
      const differs = folders.findIndex((folder, i) => theirs[i] !== folder)
      return differs < 0 ? folders.length : differs
    }
    const fitting = best(best(candidates, agreement), (file) => folderScale(file, scale))
    if (fitting.length > 1) throw invalidOption(name, `one LR file for ${hr}`, fitting)
    pairs.push({ hr, lr: fitting[0]! })
  }
  if (pairs.length === 0)
    throw new WbsrError(
      'WBSR_NOT_FOUND',
      without[0]
        ? `${name}: none of ${without.length} HR files has an LR file; ${without[0].file}: ${without[0].reason}`
        : `${name}: all HR files are LR files of ${String(lr)} by their names`,
    )
  return { pairs, skipped: [...skipped, ...without] }
}

/** The image files of a data set, with their LR files where there are any. */
export async function findPairs(
  hr: FileSpec,
  lr: FileSpec | undefined,
  scale: number,
  names: { hr: string; lr: string },
): Promise<PairedFiles> {
  const skipped: SkippedImage[] = []
  const files = await findImages(hr, names.hr, skipped)
  if (lr === undefined) return { pairs: files.map((file) => ({ hr: file, lr: null })), skipped }
  const found = await pairImages(files, lr, scale, names.lr)
  return { pairs: found.pairs, skipped: [...skipped, ...found.skipped] }
}

interface Size {
  width: number
  height: number
}

/**
 * LR must be HR / scale, with both sides rounded down (HR is cut down, right and bottom, to a multiple of the scale) or both
 * rounded up, as MATLAB's imresize does; the LR pixels that then reach over the edge of the cut HR are to be cut off too.
 *
 * @throws WbsrError WBSR_INVALID_IMAGE, naming both files and the expected size
 */
export function checkPair(pair: { hr: string; lr: string }, hr: Size, lr: Size, scale: number): void {
  const width = Math.floor(hr.width / scale)
  const height = Math.floor(hr.height / scale)
  if (lr.width === width && lr.height === height) return
  if (lr.width === Math.ceil(hr.width / scale) && lr.height === Math.ceil(hr.height / scale)) return
  throw new WbsrError(
    'WBSR_INVALID_IMAGE',
    `Expected ${width}x${height} for LR image ${pair.lr} (1/${scale} of ${pair.hr}, ${hr.width}x${hr.height}) but it is ${lr.width}x${lr.height}`,
  )
}

/** LR pixels cut down to those of the HR image, itself cut down to a multiple of the scale. Throws as checkPair does. */
export function cropPair(pair: { hr: string; lr: string }, hr: Size, lr: RgbImage, scale: number): RgbImage {
  checkPair(pair, hr, lr, scale)
  return cropTopLeft(lr, Math.floor(hr.width / scale), Math.floor(hr.height / scale))
}
