// lib/files/tensor.ts, for the readers in this folder.
export { countOf, isStoredTensor, type StoredTensor, tensorOf } from '../../files/tensor.js'
