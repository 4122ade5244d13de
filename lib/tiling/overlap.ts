// Width of a region's halo and of the overlap in which it is blended with its neighbours.

/** LR pixels by which a region's kept part extends over its edges; there it is blended with its neighbours. */
export const BLEND = 2

/**
 * LR pixels of context around the kept part with `halo: 'auto'` (fewer where the receptive field is smaller). With BLEND a
 * region's input extends 6 pixels beyond its edge. Measured with the published EDSR x2 weights (receptive field 20), 32x32
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

/** @param wanted option `halo` */
export function overlapOf(wanted: 'auto' | number): Overlap {
  const halo = wanted === 'auto' ? AUTO_HALO : wanted
  const blend = Math.min(BLEND, halo)
  return { halo, blend, margin: halo + blend }
}
