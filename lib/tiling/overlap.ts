// How far a region sees beyond the tiles it is made of, and how far neighbours are blended.
import type { NativeEngine } from '../native.js'

/** LR pixels by which a region's kept part reaches over its edge, where it is blended with its neighbour's. */
export const BLEND = 2

/**
 * Context in LR pixels that `halo: 'auto'` gives around what is kept (less where the receptive field is smaller). With
 * BLEND a region sees 6 pixels beyond its edge. Measured with the published EDSR x2 weights (receptive field 20), 32x32
 * tiles without merging, Set14 barbara and Set5 butterfly: against the whole-image result the PSNR on Y changes by
 * +0.018 / -0.219 dB at halo 0, +0.005 / +0.005 at 2, +0.003 / +0.004 at 4, 0.000 / +0.001 at 6; the largest difference
 * of a sample is 54, 12, 6 and 3 grey levels.
 */
export const AUTO_HALO = 4

/** Halo and blended overlap of a run, in LR pixels. `margin`, their sum, is what a band needs around a group. */
export interface Overlap {
  halo: number
  blend: number
  margin: number
}

/** Receptive fields up to this many LR pixels are seen whole by `halo: 'auto'` in models of other tools. */
const WHOLE_FIELD = 48
/** What larger ones get, and attention over all pixels. */
const LARGE_FIELD_HALO = 32

/** From this radius on a receptive field counts as unbounded (native/core/graph.cc: kUnbounded). */
const UNBOUNDED = 1 << 20

/** Does every output pixel depend on the whole picture? */
export function isGlobal({ subnets }: Pick<NativeEngine, 'subnets'>): boolean {
  return subnets.some(({ receptiveField }) => receptiveField >= UNBOUNDED)
}

/**
 * @param wanted option `halo`
 * @param engine whose regions must be large enough and of sides that its network takes
 * @param whole should 'auto' give the whole picture's result where it can? As models of other tools do.
 */
export function overlapOf(wanted: 'auto' | number, engine: NativeEngine, whole: boolean): Overlap {
  const { minimumSize = 1, sizeMultiple = 1, subnets } = engine
  const field = Math.max(...subnets.map((subnet) => subnet.receptiveField))
  const automatic = whole ? (field <= WHOLE_FIELD ? field : LARGE_FIELD_HALO) : AUTO_HALO
  let halo = wanted === 'auto' ? automatic : wanted
  // With it the smallest rest of a picture's last tile is large enough.
  if (minimumSize > 1) halo = Math.max(halo, minimumSize)
  const blend = Math.min(BLEND, halo)
  if (sizeMultiple > 1) {
    // What a region sees begins at multiples; regions see no further than the receptive field.
    const up = Math.ceil((halo + blend) / sizeMultiple) * sizeMultiple - blend
    halo = up <= field || up < sizeMultiple ? up : up - sizeMultiple
  }
  return { halo, blend, margin: halo + blend }
}
