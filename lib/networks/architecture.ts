// Describes a backbone, and the weight files that are published for it: how they are recognised and how a network is made
// from their shapes. It is in the same file as the function that makes the family; the list is in all.ts.
import type { StoredTensor } from '../files/tensor.js'
import type { ImageConvention } from './image.js'
import type { Network } from './network.js'
import type { Weights } from './weights.js'

export interface Backbone {
  /** As in Network.name; also its name on the command line. */
  name: string
  /** For messages and lists. */
  title: string
  /** Makes its networks. @throws WbsrError WBSR_INVALID_OPTION */
  family: (options: never) => Network
}

/** A backbone with published weights. */
export interface Architecture extends Backbone {
  /** Keys that every file has; with several lists, those of at least one list. */
  keys: readonly (readonly string[])[]
  /** Keys that files may have and that are not needed. */
  unused?: RegExp
  /** @throws WbsrError WBSR_INVALID_FILE naming what is missing or of another shape than expected */
  read(weights: Weights, hints: Hints): ReadNetwork
}

/** Properties that a file does not contain and that its user may give. */
export interface Hints {
  convention: Partial<ImageConvention>
  scale?: number
}

/** A network with the shapes of a file. */
export interface ReadNetwork {
  network: Network
  features: number
  blocks: number
  convention: ImageConvention
  /** Sources of the parameters that have another name in the file or must be computed. */
  sources?: ReadonlyMap<string, Source>
}

/** A key of the file, or a tensor that is computed from several of them. */
export type Source = string | { keys: readonly string[]; tensor(): StoredTensor }
