// Any number of shared holders, or one exclusive holder.

export class SharedLock {
  #active = 0
  #exclusive = false
  /** Shared work begun so far; it shows whether other work ran concurrently. */
  #begun = 0
  readonly #waiting: (() => void)[] = []

  /** Runs `work` beside other shared work. `alone`: no other work ran meanwhile. */
  async shared<T>(work: () => Promise<T>): Promise<{ value: T; alone: boolean }> {
    while (this.#exclusive) await this.#change()
    const free = this.#active === 0
    const begun = ++this.#begun
    this.#active++
    try {
      const value = await work()
      return { value, alone: free && this.#begun === begun }
    } finally {
      this.#active--
      this.#wake()
    }
  }

  /** Runs `work` while nothing else runs. */
  async exclusive<T>(work: () => Promise<T>): Promise<T> {
    while (this.#exclusive) await this.#change()
    this.#exclusive = true
    try {
      while (this.#active > 0) await this.#change()
      return await work()
    } finally {
      this.#exclusive = false
      this.#wake()
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
