// A picture that needs no file.
import type { RawImage } from '../types.js'

/** Waves, noise and flat parts. */
export function testPicture(width: number, height: number): RawImage {
  const data = new Uint8Array(width * height * 3)
  let state = 1
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)]
    const noise = x > width / 2 ? (state >>> 24) / 4 : 0
    data[i] = Math.min(255, 96 + 60 * Math.sin(x / 7 + (i % 3)) * Math.cos(y / 11) + noise)
  }
  return { data, width, height, channels: 3 }
}
