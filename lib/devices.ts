// Which devices there are and which one a model runs on. Engines are made here and nowhere else.
import { availableParallelism } from 'node:os'
import { invalidOption, WbsrError, wrapError } from './errors.js'
import { native, type NativeEngine } from './native.js'
import type { Network } from './networks/network.js'
import { checkInteger } from './options.js'

/** `auto`: the best that runs here, never fails; `cuda` or `cuda:N`: that GPU or WBSR_NO_DEVICE; `cpu`. */
export type DeviceOption = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** One device that this build could run on. */
export interface DeviceDescription {
  /** What to pass as `device`. */
  id: DeviceOption
  kind: 'cpu' | 'cuda'
  /** As the hardware calls itself. */
  name: string
  /** Cores (cpu). */
  threads: number
  /** Instruction set and library versions. */
  details: string
}

/** What a model runs on. */
export interface ModelDevice {
  kind: 'cpu' | 'cuda'
  name: string
  threads: number
  /** Why `auto` did not take a GPU; null when it did or when the device was asked for by name. */
  fallbackReason: string | null
}

const NO_CUDA = 'this build of wbsr has no CUDA device'

/** The devices that `device` can name on this machine, best first. */
export function listDevices(): DeviceDescription[] {
  const cpu = native.cpuInfo()
  return [{ id: 'cpu', kind: 'cpu', name: cpu.name, threads: cpu.cores, details: `${cpu.isa}, oneDNN ${cpu.onednn}` }]
}

/** Checks the option `device`. @throws WbsrError WBSR_INVALID_OPTION */
export function checkDevice(value: unknown): DeviceOption {
  if (value === 'auto' || value === 'cpu' || value === 'cuda' || (typeof value === 'string' && /^cuda:\d+$/.test(value))) return value as DeviceOption
  throw invalidOption('device', `one of 'auto', 'cpu', 'cuda', 'cuda:N'`, value)
}

/** Checks the option `threads`; all cores by default. @throws WbsrError WBSR_INVALID_OPTION */
export function checkThreads(value: unknown): number {
  return value === undefined ? availableParallelism() : checkInteger(value, 'threads', 1, 1024)
}

/** @throws WbsrError WBSR_NO_DEVICE: the device was asked for by name and cannot run here */
export function requireDevice(device: DeviceOption): void {
  if (device.startsWith('cuda')) throw new WbsrError('WBSR_NO_DEVICE', `Device '${device}' cannot be used: ${NO_CUDA}. Devices here: 'cpu'`)
}

/** @throws WbsrError WBSR_NO_DEVICE, WBSR_OUT_OF_MEMORY; WBSR_INVALID_OPTION: a graph that makes no sense */
export function createEngine(network: Network, device: DeviceOption, threads: number): { engine: NativeEngine; fallbackReason: string | null } {
  requireDevice(device)
  try {
    return { engine: new native.Engine(network.graph, { threads }), fallbackReason: device === 'auto' ? NO_CUDA : null }
  } catch (error) {
    throw wrapError(error, 'WBSR_INTERNAL', `Could not build the network ${network.name}`)
  }
}
