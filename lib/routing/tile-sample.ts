// A bounded choice of tiles from pictures that come one after the other: as many of each difficulty class as there is room
// for, at random within a class. What is kept never exceeds the bound, however many pictures come.
import type { RandomStream } from '../random.js'

/**
 * Shares `total` places out among classes of `counts` tiles, as evenly as their counts allow; places that are left over go to
 * the hardest classes. When counts grow, no class gets more places than before but for its own new tiles, so that tiles that
 * were dropped are never missed later.
 */
export function evenPlaces(counts: readonly number[], total: number): number[] {
  let level = 0
  let left = total
  for (;;) {
    const open = counts.filter((count) => count > level).length
    if (open === 0) return [...counts]
    if (left < open) break
    // All open classes rise together, at most to the smallest of them.
    const next = Math.min(...counts.filter((count) => count > level))
    const rise = Math.min(next - level, Math.floor(left / open))
    level += rise
    left -= rise * open
  }
  const places = counts.map((count) => Math.min(count, level))
  for (let k = counts.length - 1; k >= 0 && left > 0; k--) {
    if (counts[k]! <= level) continue
    places[k]!++
    left--
  }
  return places
}

interface Entry<T> {
  priority: number
  order: number
  tile: T
}

/** Random samples of the tiles of each class, of `total` tiles together. */
export class TileSample<T> {
  readonly #total: number
  readonly #classes: Entry<T>[][]
  /** Tiles offered so far, by class. */
  readonly #counts: number[]
  #offered = 0

  constructor(classes: number, total: number) {
    this.#total = total
    this.#classes = Array.from({ length: classes }, () => [])
    this.#counts = new Array<number>(classes).fill(0)
  }

  /**
   * Offers the tiles of a picture.
   *
   * @param classes 1 .. K of each tile
   * @param make called only for tiles that are kept for now
   */
  async add(classes: ArrayLike<number>, random: RandomStream, make: (tile: number) => Promise<T> | T): Promise<void> {
    const offered = Array.from(classes, (k, tile) => ({ k: k - 1, tile, priority: random.next() }))
    for (const { k } of offered) this.#counts[k]!++
    const places = evenPlaces(this.#counts, this.#total)
    for (const [k, kept] of this.#classes.entries()) {
      const mine = offered.filter((tile) => tile.k === k)
      // The smallest priorities of all tiles seen so far are a uniform sample of them.
      const all = [...kept, ...mine].sort((a, b) => a.priority - b.priority).slice(0, places[k])
      this.#classes[k] = []
      for (const entry of all) {
        if ('order' in entry) this.#classes[k]!.push(entry)
        else
          this.#classes[k]!.push({
            priority: entry.priority,
            order: this.#offered + entry.tile,
            tile: await make(entry.tile),
          })
      }
    }
    this.#offered += offered.length
  }

  /** Tiles offered. */
  get offered(): number {
    return this.#offered
  }

  /** What is kept, with classes 1 .. K, in the order in which it came. */
  tiles(): { class: number; tile: T }[] {
    return this.#classes
      .flatMap((entries, k) => entries.map(({ order, tile }) => ({ order, class: k + 1, tile })))
      .sort((a, b) => a.order - b.order)
      .map(({ class: k, tile }) => ({ class: k, tile }))
  }
}
