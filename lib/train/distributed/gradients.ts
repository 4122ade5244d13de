// The gradients of micro-batches while they are summed: in the host's memory, or in the devices' own. Both give the same sums
// to the bit: floating-point numbers are added one by one in the order that tree.ts says, and multiplied once.
import { invalidOption } from '../../errors.js'
import { type NativeEngine, native } from '../../native.js'
import type { Group } from './group.js'

export interface Gradients<T> {
  /** A gradient to receive into. */
  take(): T
  /** It is not used any more. */
  free(gradient: T): void
  /** A copy of what the engine has computed last. */
  hold(): Promise<T>
  /** into += other */
  add(into: T, other: T): Promise<void>
  /** The engine's next update is made with gradient * factor; the gradient may change. */
  use(gradient: T, factor: number): Promise<void>
  send(gradient: T, to: number): Promise<void>
  receive(into: T, from: number): Promise<void>
}

/** In the host's memory; between ranks by the group's connection. */
export class HostGradients implements Gradients<Float32Array> {
  readonly #engine: NativeEngine
  readonly #group: Group
  readonly #free: Float32Array[] = []

  constructor(engine: NativeEngine, group: Group) {
    this.#engine = engine
    this.#group = group
  }

  take(): Float32Array {
    return this.#free.pop() ?? new Float32Array(this.#engine.parameterCount)
  }

  free(gradient: Float32Array): void {
    this.#free.push(gradient)
  }

  async hold(): Promise<Float32Array> {
    return await this.#engine.readGradient(this.take())
  }

  async add(into: Float32Array, other: Float32Array): Promise<void> {
    await native.addFloats(into, other)
  }

  async use(gradient: Float32Array, factor: number): Promise<void> {
    await this.#engine.writeGradient(gradient, factor)
  }

  async send(gradient: Float32Array, to: number): Promise<void> {
    await this.#group.send(to, 'gradient', gradient)
  }

  async receive(into: Float32Array, from: number): Promise<void> {
    await this.#group.receive(from, 'gradient', into)
  }
}

/** In the devices' memory, by their numbers there; between ranks by the devices' library. */
export class DeviceGradients implements Gradients<number> {
  readonly #engine: NativeEngine
  readonly #group: Group
  readonly #free: number[] = []
  #made = 0

  private constructor(engine: NativeEngine, group: Group) {
    this.#engine = engine
    this.#group = group
  }

  /**
   * Connects the devices of all ranks.
   *
   * @throws WbsrError WBSR_NO_DEVICE: the library is missing, or refuses the devices; WBSR_RANK_FAILED
   */
  static async connect(engine: NativeEngine, group: Group): Promise<DeviceGradients> {
    const { rank, ranks } = group
    if (ranks > 1) {
      const id = Uint8Array.from(await group.share(async () => [...(await engine.exchangeId())]))
      await group.direct((cancel) => engine.exchange({ action: 'connect', id, rank, ranks, cancel }))
    }
    return new DeviceGradients(engine, group)
  }

  take(): number {
    return this.#free.pop() ?? this.#made++
  }

  free(gradient: number): void {
    this.#free.push(gradient)
  }

  async hold(): Promise<number> {
    const held = this.take()
    await this.#engine.exchange({ action: 'hold', held })
    return held
  }

  async add(held: number, other: number): Promise<void> {
    await this.#engine.exchange({ action: 'add', held, other })
  }

  async use(held: number, factor: number): Promise<void> {
    await this.#engine.exchange({ action: 'use', held, factor })
  }

  async send(held: number, to: number): Promise<void> {
    await this.#group.direct((cancel) => this.#engine.exchange({ action: 'send', held, to, cancel }))
  }

  async receive(held: number, from: number): Promise<void> {
    await this.#group.direct((cancel) => this.#engine.exchange({ action: 'receive', held, from, cancel }))
  }
}

/**
 * The device of a rank, where devices exchange gradients by `library`: the one of its number on this machine, unless the option
 * names one.
 *
 * @throws WbsrError WBSR_INVALID_OPTION: the option names another kind of device
 */
export function deviceOfRank(device: string, library: string, localRank: number): string {
  const kinds = native.deviceKinds().filter(({ exchange }) => exchange === library)
  const kind = kinds.find(({ name }) => device === 'auto' || device === name || device.startsWith(`${name}:`))
  if (!kind) {
    const names = kinds.map(({ name }) => `'${name}'`).join(' or ')
    throw invalidOption('device', `${names} with distributed '${library}'`, device)
  }
  const { devices } = native.findDevices(kind.name)
  // A launcher may also show each rank a device of its own, which is the first one then.
  const own = devices[localRank % devices.length]
  return device.includes(':') || !own ? (device === 'auto' ? kind.name : device) : `${kind.name}:${own.index}`
}
