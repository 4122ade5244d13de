// Tags of messages that belong to no run.

/** A rank leaves for good. */
export const LEAVING = 32767
