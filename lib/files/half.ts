// Floats of 16 bits, which JavaScript has no type for, to and from float32, by bits.

/** What rounds to infinity in half precision; its largest number is 65504. */
export const HALF_LIMIT = 65520

/** Half precision (10 bits of mantissa) or bfloat16 (7) to float32, by bits. */
export function widen(halves: Uint16Array, dtype: 'F16' | 'BF16'): Float32Array {
  const out = new Float32Array(halves.length)
  if (dtype === 'BF16') {
    const bits = new Uint32Array(out.buffer)
    for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16
    return out
  }
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!
    const exponent = (half >> 10) & 31
    const fraction = half & 1023
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 31
          ? fraction
            ? NaN
            : Infinity
          : (1 + fraction / 1024) * 2 ** (exponent - 15)
    out[i] = half & 0x8000 ? -size : size
  }
  return out
}

/** float32 to half precision, rounded to nearest, ties to even. Beyond HALF_LIMIT: infinity. */
export function narrow(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const out = new Uint16Array(values.length)
  for (let i = 0; i < out.length; i++) {
    const size = Math.abs(values[i]!)
    const sign = (bits[i]! >>> 16) & 0x8000
    if (Number.isNaN(size)) out[i] = sign | 0x7e00
    else if (size >= HALF_LIMIT) out[i] = sign | 0x7c00
    else if (size < 2 ** -14) out[i] = sign | roundEven(size * 2 ** 24)
    else {
      const exponent = ((bits[i]! >>> 23) & 255) - 127 + 15
      // A carry out of the fraction raises the exponent, as it should.
      out[i] = sign | roundEven(exponent * 1024 + (bits[i]! & 0x7fffff) / 8192)
    }
  }
  return out
}

function roundEven(value: number): number {
  const below = Math.floor(value)
  const rest = value - below
  return below + (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? 1 : 0)
}
