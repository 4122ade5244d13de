// Names of the losses. Without the addon, so that the help of the program is there even where it is missing.

/** The losses of one residual each: native/core/losses/. */
export const ELEMENT_LOSSES = ['l1', 'l2', 'charbonnier'] as const
/** Losses of one residual each: |e|, e^2 and sqrt(e^2 + 1e-6). */
export type ElementLoss = (typeof ELEMENT_LOSSES)[number]

/** All that the option `loss` takes as a name, the default first. */
export const LOSSES = ['bd', ...ELEMENT_LOSSES] as const
