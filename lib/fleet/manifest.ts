// What a job is, in full: a JSON object in the store. Redis holds its key and the number of the band.
import { WbsrError } from '../errors.js'
import type { EncodeSettings } from '../images/encode.js'
import type { OutputFormat } from '../images/formats.js'
import type { Overlap } from '../tiling/overlap.js'
import type { PictureMetadata } from '../types.js'
import type { EncoderSettings } from '../video/encode.js'
import type { VideoFacts } from '../video/probe.js'
import type { Band } from './bands.js'
import type { RowShape } from './rows.js'
import { hashOf, readAll, type Store } from './store.js'

/** What all kinds of jobs say of who may do them and what comes out. */
export interface Common {
  format: 1
  /** Hash of everything below that decides the result. */
  id: string
  /** For people: the name of the source. */
  name: string
  /** Key of the model, its answer to the probe, and numericsOf the machine that answered. */
  model: string
  probe: string
  numerics: string
  /** Key of the result. */
  output: string
  /** 2 x MAC in all. */
  flops: number
  /** 2 x MAC that a worker was expected to do in a second. */
  rate: number
}

export interface PictureOutput {
  outputFormat: OutputFormat
  encode: EncodeSettings
  metadata: 'keep' | 'strip'
}

/** A picture in bands. */
export interface BandsManifest extends Common, PictureOutput {
  kind: 'bands'
  scale: number
  /** Key of the LR rows. */
  rows: string
  shape: RowShape
  alpha: 'opacity' | 'data' | null
  tile: number
  groupRows: number
  overlap: Overlap
  regionPixels: number
  /** Subnets of the tiles, row by row, base64 of bytes. */
  subnets: string
  bands: Band[]
  /** Metadata of the source. */
  kept: StoredMetadata | null
}

/** A picture that one worker enlarges as a whole. */
export interface PictureManifest extends Common, PictureOutput {
  kind: 'picture'
  /** Key of the source file. */
  source: string
  read: { page?: number; density?: number; colourSpace?: 'srgb' | 'input'; strict?: boolean; maxPixels?: number }
  /** Options of upscale, as they were given. */
  upscale: Record<string, unknown>
}

/** Frames that are decoded, enlarged and encoded by one worker. */
export interface VideoSegment {
  frames: number
  /** Timestamps of its first and last frame, in ticks. */
  first: number
  last: number
  /** FrameDigest of the frames. */
  digest: string
  /** 2 x MAC at most: its tiles are not routed yet. */
  flops: number
}

/** A video in segments. */
export interface VideoManifest extends Common {
  kind: 'video'
  /** Key of the source file. */
  source: string
  /** The version that the submitter has. */
  ffmpeg: string
  facts: VideoFacts
  encoder: EncoderSettings
  /** Options of upscaleVideo, as they were given. */
  options: Record<string, unknown>
  segments: VideoSegment[]
}

/** Several pictures, each of which is a job of its own. */
export interface FolderManifest {
  format: 1
  kind: 'folder'
  id: string
  name: string
  /** Manifests of the pictures, and pictures that no job could be made of. */
  pictures: { id: string; name: string; output: string }[]
  failed: { name: string; code: string; message: string }[]
  flops: number
  rate: number
}

/** Jobs that end in one file. */
export type FileManifest = BandsManifest | PictureManifest | VideoManifest

export type Manifest = FileManifest | FolderManifest

/** Metadata as JSON: bytes in base64. */
export interface StoredMetadata {
  icc?: string
  exif?: string
  xmp?: string
  density?: number
  colourSpace: 'srgb' | 'input'
}

const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('base64')
const bytes = (value: string | undefined) => (value === undefined ? undefined : Buffer.from(value, 'base64'))

export function storedMetadata({ icc, exif, xmp, ...rest }: PictureMetadata): StoredMetadata {
  return JSON.parse(JSON.stringify({ ...rest, icc: text(icc), exif: text(exif), xmp: text(xmp) })) as StoredMetadata
}

export function pictureMetadata({ icc, exif, xmp, ...rest }: StoredMetadata): PictureMetadata {
  return {
    ...rest,
    ...(icc !== undefined && { icc: bytes(icc)! }),
    ...(exif !== undefined && { exif: bytes(exif)! }),
    ...(xmp !== undefined && { xmp: bytes(xmp)! }),
  }
}

/** Names of the objects of a job. */
export const folderOf = (id: string): string => `runs/${id}`
export const manifestKey = (id: string): string => `${folderOf(id)}/manifest.json`
export const bandKey = (id: string, { first, end }: Band): string => `${folderOf(id)}/${first}-${end}.rows`
export const segmentKey = (id: string, index: number): string => `${folderOf(id)}/${index}.nut`
/** While it is there, workers do nothing for a job. */
export const cancelKey = (id: string): string => `${folderOf(id)}/cancelled`
/** Says that the result of a job is there, and what it is. */
export const doneKey = (id: string): string => `done/${id}.json`

/** Digits of a job's id: enough that no two jobs meet. */
const ID_DIGITS = 32

/** The id of a job: the same for the same input, model, options, cut, version, arithmetic and result. */
export function identify<T extends Manifest>(manifest: Omit<T, 'id'>): T {
  const { rate: _rate, ...rest } = manifest as unknown as Common
  // BullMQ takes no ids that are numbers.
  return { ...manifest, id: `w${hashOf(JSON.stringify(rest)).slice(0, ID_DIGITS)}` } as T
}

/** @throws WbsrError WBSR_NOT_FOUND, WBSR_INVALID_FILE: made by another version */
export async function readManifest(store: Store, id: string): Promise<Manifest> {
  const key = manifestKey(id)
  const content = await readAll(store, key)
  let manifest: Manifest
  try {
    manifest = JSON.parse(content.toString('utf8')) as Manifest
  } catch (cause) {
    throw new WbsrError('WBSR_INVALID_FILE', `${key} of ${store.label} is damaged`, { cause })
  }
  if (manifest.format !== 1 || manifest.id !== id)
    throw new WbsrError('WBSR_INVALID_FILE', `${key} of ${store.label} is of another version of wbsr`)
  return manifest
}

/** How many jobs a job is made of. */
export function partsOf(manifest: Manifest): number {
  switch (manifest.kind) {
    case 'bands':
      return manifest.bands.length
    case 'video':
      return manifest.segments.length
    case 'folder':
      return manifest.pictures.length
    case 'picture':
      return 1
  }
}
