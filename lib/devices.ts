// Which devices there are and which one a model runs on. Engines are made here and nowhere else.
import { availableParallelism } from 'node:os'
import { invalidOption, WbsrError, type WbsrErrorCode, wrapError } from './errors.js'
import { type NativeEngine, native, type Precision } from './native.js'
import type { Network } from './networks/network.js'
import { checkChoice, checkInteger } from './options.js'

/** `auto`: the best that runs here, never fails; `cuda` or `cuda:N`: that GPU or WBSR_NO_DEVICE; `cpu`. */
export type DeviceOption = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** What a model runs on and how. */
export interface DeviceOptions {
  /** Default 'auto'. */
  device?: DeviceOption
  /** CPU threads. Default: all cores. */
  threads?: number
  /**
   * What convolutions calculate with on a GPU: 'bf16' (default), 'tf32' or 'fp32'. Weights and sums are always float32. The
   * CPU calculates in 'fp32'; with device 'auto' that is also what happens where there is no GPU.
   */
  precision?: Precision
  /**
   * On a GPU: how many of cuDNN's engines are timed for each convolution and size when it is first met, 0 .. 64. Default 0:
   * the choice of cuDNN's heuristics.
   */
  autotune?: number
}

/** Checked. */
export interface DeviceChoice {
  device: DeviceOption
  threads: number
  /** undefined: the device's own default. */
  precision: Precision | undefined
  autotune: number | undefined
}

/** Keys of {@link DeviceOptions}. */
export const DEVICE_KEYS = ['device', 'threads', 'precision', 'autotune'] as const

/** One device that this build could run on. */
export interface DeviceDescription {
  /** What to pass as `device`. */
  id: DeviceOption
  kind: 'cpu' | 'cuda'
  /** As the hardware calls itself. */
  name: string
  /** Cores (cpu; 0 for cuda). */
  threads: number
  /** Instruction set or compute capability and memory, library versions. */
  details: string
}

/** What a model runs on. */
export interface ModelDevice {
  kind: 'cpu' | 'cuda'
  name: string
  /** 0 for cuda. */
  threads: number
  /** What convolutions calculate with; weights and sums are float32 everywhere. */
  precision: Precision
  /** Why `auto` did not take a GPU; null when it did or when the device was asked for by name. */
  fallbackReason: string | null
}

/** The devices that `device` can name on this machine, best first. */
export function listDevices(): DeviceDescription[] {
  const cpu = native.cpuInfo()
  return [
    ...native.cudaInfo().devices.map(
      ({ index, name, details, memory }): DeviceDescription => ({
        id: `cuda:${index}`,
        kind: 'cuda',
        name,
        threads: 0,
        details: `${details}, ${(memory / 2 ** 30).toFixed(1)} GiB`,
      }),
    ),
    { id: 'cpu', kind: 'cpu', name: cpu.name, threads: cpu.cores, details: `${cpu.isa}, oneDNN ${cpu.onednn}` },
  ]
}

/** Checks the option `device`. @throws WbsrError WBSR_INVALID_OPTION */
export function checkDevice(value: unknown): DeviceOption {
  if (
    value === 'auto' ||
    value === 'cpu' ||
    value === 'cuda' ||
    (typeof value === 'string' && /^cuda:\d+$/.test(value))
  )
    return value as DeviceOption
  throw invalidOption('device', `one of 'auto', 'cpu', 'cuda', 'cuda:N'`, value)
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkDeviceOptions(options: Partial<Record<(typeof DEVICE_KEYS)[number], unknown>>): DeviceChoice {
  const device = checkDevice(options.device ?? 'auto')
  const threads =
    options.threads === undefined ? availableParallelism() : checkInteger(options.threads, 'threads', 1, 1024)
  const precision =
    options.precision === undefined
      ? undefined
      : checkChoice(options.precision, 'precision', ['bf16', 'tf32', 'fp32'] as const)
  const autotune = options.autotune === undefined ? undefined : checkInteger(options.autotune, 'autotune', 0, 64)
  if (device === 'cpu' && precision !== undefined && precision !== 'fp32')
    throw invalidOption('precision', `'fp32' or nothing with device 'cpu'`, precision)
  if (device === 'cpu' && autotune !== undefined) throw invalidOption('autotune', `nothing with device 'cpu'`, autotune)
  return { device, threads, precision, autotune }
}

/** Index of the CUDA device that was asked for by name. @throws WbsrError WBSR_NO_DEVICE saying what was tried and what is there */
function cudaIndex(device: DeviceOption): number {
  const { devices, reason } = native.cudaInfo()
  const wanted = device === 'cuda' ? devices[0] : devices.find(({ index }) => `cuda:${index}` === device)
  if (wanted) return wanted.index
  const here = listDevices()
    .map(({ id, name }) => `'${id}' (${name})`)
    .join(', ')
  const why = devices.length === 0 ? reason : 'there is no usable CUDA device of that number'
  throw new WbsrError('WBSR_NO_DEVICE', `Device '${device}' cannot be used: ${why}. Devices here: ${here}`)
}

/** @throws WbsrError WBSR_NO_DEVICE: the device was asked for by name and cannot run here */
export function requireDevice(device: DeviceOption): void {
  if (device.startsWith('cuda')) cudaIndex(device)
}

/** What makes `auto` take the CPU when a GPU that is there cannot take the network. */
const FALLBACK_CODES: readonly unknown[] = [
  'WBSR_NO_DEVICE',
  'WBSR_DEVICE_FAILED',
  'WBSR_OUT_OF_MEMORY',
] satisfies WbsrErrorCode[]

/** @throws WbsrError WBSR_NO_DEVICE, WBSR_DEVICE_FAILED, WBSR_OUT_OF_MEMORY; WBSR_INVALID_OPTION: a graph that makes no sense */
export function createEngine(
  network: Network,
  { device, threads, ...gpu }: DeviceChoice,
): { engine: NativeEngine; fallbackReason: string | null } {
  const onCpu = () => new native.Engine(network.graph, { threads })
  const onCuda = (index: number) => new native.Engine(network.graph, { threads, device: 'cuda', index, ...gpu })
  const automatic = () => {
    const { devices, reason } = native.cudaInfo()
    const [first] = devices
    if (!first) return { engine: onCpu(), fallbackReason: reason }
    try {
      return { engine: onCuda(first.index), fallbackReason: null }
    } catch (error) {
      const { code, message } = error as { code?: unknown; message: string }
      if (!FALLBACK_CODES.includes(code)) throw error
      return {
        engine: onCpu(),
        fallbackReason: `cuda:${first.index} (${first.name}) cannot take the network ${network.name}: ${message}`,
      }
    }
  }
  try {
    if (device === 'auto') return automatic()
    return { engine: device === 'cpu' ? onCpu() : onCuda(cudaIndex(device)), fallbackReason: null }
  } catch (error) {
    throw wrapError(error, 'WBSR_INTERNAL', `Could not build the network ${network.name}`)
  }
}
