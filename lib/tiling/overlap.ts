// The context of a region around its tiles, and the overlap in which neighbours are blended.
import type { NativeEngine } from '../native.js'

/** LR pixels by which a region's kept part reaches over its edge, where it is blended with its neighbour's. */
export const BLEND = 2

/**
 * Context in LR pixels of `halo: 'auto'` around the kept part (less if the receptive field is smaller). With BLEND a
 * region reads 6 pixels beyond its edge. Measured with the published EDSR x2 weights (receptive field 20), 32x32
 * tiles without merging, Set14 barbara and Set5 butterfly: against the whole-image result the PSNR on Y changes by
 * +0.018 / -0.219 dB at halo 0, +0.005 / +0.005 at 2, +0.003 / +0.004 at 4, 0.000 / +0.001 at 6; the largest difference
 * of a sample is 54, 12, 6 and 3 grey levels.
 */
export const AUTO_HALO = 4

/** Halo and blended overlap of a run, in LR pixels. `margin`, their sum, is the context of a band around a group. */
export interface Overlap {
  halo: number
  blend: number
  margin: number
}

/** In models of other tools `halo: 'auto'` covers receptive fields up to this many LR pixels. */
const WHOLE_FIELD = 48
/** `halo: 'auto'` for larger ones, and for attention over all pixels. */
const LARGE_FIELD_HALO = 32

/** From this radius on a receptive field counts as unbounded (native/core/graph.cc: kUnbounded). */
const UNBOUNDED = 1 << 20

/** Whether every output pixel depends on the whole picture. */
export function isGlobal({ subnets }: Pick<NativeEngine, 'subnets'>): boolean {
  return subnets.some(({ receptiveField }) => receptiveField >= UNBOUNDED)
}

/**
 * @param wanted option `halo`
 * @param engine its network sets the smallest region and the multiple of its sides
 * @param whole whether 'auto' gives the whole picture's result where possible, as for models of other tools
 */
export function overlapOf(wanted: 'auto' | number, engine: NativeEngine, whole: boolean): Overlap {
  const { minimumSize = 1, sizeMultiple = 1, subnets } = engine
  const field = Math.max(...subnets.map((subnet) => subnet.receptiveField))
  const automatic = whole ? (field <= WHOLE_FIELD ? field : LARGE_FIELD_HALO) : AUTO_HALO
  let halo = wanted === 'auto' ? automatic : wanted
  // With this halo the smallest last tile of a picture is large enough.
  if (minimumSize > 1) halo = Math.max(halo, minimumSize)
  const blend = Math.min(BLEND, halo)
  if (sizeMultiple > 1) {
    // A region's input begins at multiples; it never exceeds the receptive field.
    const up = Math.ceil((halo + blend) / sizeMultiple) * sizeMultiple - blend
    halo = up <= field || up < sizeMultiple ? up : up - sizeMultiple
  }
  return { halo, blend, margin: halo + blend }
}
