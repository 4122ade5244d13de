// What reading a file may cost. Files that are small on disk can describe gigabytes (deflated zeros, many tensors that
// view one storage), so every reader takes what it allocates from a budget that follows from the file's size.
import { WbsrError } from '../errors.js'

/** Allocations up to this many bytes are allowed for a file of any size. */
const FLOOR_BYTES = 256 * 2 ** 20
/** And up to this many bytes per byte of the file. */
const BYTES_PER_BYTE = 16

/** A file that is damaged, or not what it should be. */
export function damaged(file: string, what: string, cause?: unknown): WbsrError {
  return new WbsrError('WBSR_INVALID_FILE', `${file}: ${what}`, { cause })
}

export class ReadBudget {
  readonly #file: string
  readonly #limit: number
  #taken = 0

  /** @param size of the file in bytes */
  constructor(file: string, size: number) {
    this.#file = file
    this.#limit = Math.max(FLOOR_BYTES, BYTES_PER_BYTE * size)
  }

  /** @throws WbsrError WBSR_INVALID_FILE for more memory than a file of this size can need */
  take(bytes: number, what: string): void {
    this.#taken += bytes
    if (!(bytes >= 0) || !(this.#taken <= this.#limit))
      throw damaged(
        this.#file,
        `${what} needs ${bytes} bytes; together with what was read before that is more than ${this.#limit} bytes, which a file of this size cannot need`,
      )
  }
}
