// What a prediction needs to know beside the work of the network.

/** Parts of a job that are not the network's. */
export interface Speeds {
  /** Seconds that a band costs beside its work: reading and writing it. */
  perBand: number
  /** Bytes of SR pixels that are put into the result in a second: reading bands, PNG's filters and zlib. */
  assembly: number
  /** Bytes of LR pixels that the submitter decodes, routes and writes in a second. */
  splitting: number
}

/** Taken where nothing was measured: of the order of a small server. */
export const ASSUMED: Speeds = { perBand: 0.15, assembly: 25e6, splitting: 60e6 }
