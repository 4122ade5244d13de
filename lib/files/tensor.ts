// A tensor as a weights file stores it. Values are read only for tensors that a network uses.

export interface StoredTensor {
  readonly shape: readonly number[]
  /** The file's own word for the type of its elements. */
  readonly type: string
  /** The elements in row-major order, as float32. @throws WbsrError WBSR_INVALID_FILE */
  read(): Float32Array
}

export const isStoredTensor = (value: unknown): value is StoredTensor =>
  typeof value === 'object' && value !== null && typeof (value as StoredTensor).read === 'function'

export const countOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** A tensor of values that were computed or read already. */
export function tensorOf(shape: readonly number[], data: Float32Array): StoredTensor {
  return { shape, type: 'F32', read: () => data }
}
