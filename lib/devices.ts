// Lists devices and selects the one that a model runs on. Only this file creates engines.
import { availableParallelism } from 'node:os'
import { invalidOption, WbsrError, type WbsrErrorCode, wrapError } from './errors.js'
import { type DeviceKind, type FoundDevice, type NativeEngine, native, type Precision } from './native.js'
import type { Network } from './networks/network.js'
import { checkChoice, checkInteger } from './options.js'

/**
 * `auto`: the best that runs here, never fails. Otherwise a kind of device, by itself or with the number of a device, as
 * {@link listDevices} names them: that device or WBSR_NO_DEVICE.
 */
export type DeviceOption = 'auto' | (string & {})

/** What a model runs on and how. */
export interface DeviceOptions {
  /** Default 'auto'. */
  device?: DeviceOption
  /** CPU threads. Default: all cores. */
  threads?: number
  /**
   * Precision of convolutions. On a GPU 'bf16' (default), 'tf32' or 'fp32'; weights and sums are always float32. On the CPU
   * 'fp32' (default) or, in inference on a processor with AMX, 'int8': faster, with slightly other pixels
   * (docs/quality.md). Device 'auto' chooses the device first and takes its default where it lacks the precision.
   */
  precision?: Precision
  /**
   * On a GPU: how many of cuDNN's engines are timed for each convolution and size at its first use, 0 .. 64. 1 compares the
   * first that computes bias and activation too with the first that does not. Default 0: the choice of cuDNN's heuristics.
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

const PRECISIONS: readonly Precision[] = ['bf16', 'tf32', 'fp32', 'int8']

/** One device that this build could run on. */
export interface DeviceDescription {
  /** What to pass as `device`. */
  id: DeviceOption
  /** 'cpu' or 'cuda', for example. */
  kind: string
  /** Name reported by the hardware. */
  name: string
  /** Cores of the host that it can use; 0 on a GPU. */
  threads: number
  /** Instruction set or compute capability and memory, library versions. */
  details: string
}

/** What a model runs on. */
export interface ModelDevice {
  /** 'cpu' or 'cuda', for example. */
  kind: string
  name: string
  /** Host threads; 0 on a GPU. */
  threads: number
  /** Precision of convolutions. */
  precision: Precision
  /** Why `auto` did not choose a GPU; null if it did or if the device was given by name. */
  fallbackReason: string | null
}

const idOf = (kind: DeviceKind, { index }: FoundDevice): DeviceOption =>
  kind.numbered ? `${kind.name}:${index}` : kind.name

/** The devices that `device` can name on this machine, best first. */
export function listDevices(): DeviceDescription[] {
  return native.deviceKinds().flatMap((kind) =>
    native.findDevices(kind.name).devices.map(
      (found): DeviceDescription => ({
        id: idOf(kind, found),
        kind: kind.name,
        name: found.name,
        threads: found.threads,
        details: found.memory > 0 ? `${found.details}, ${(found.memory / 2 ** 30).toFixed(1)} GiB` : found.details,
      }),
    ),
  )
}

/** The kind that the option names; undefined: 'auto', or none of this build's. */
function kindOf(device: unknown): DeviceKind | undefined {
  return native
    .deviceKinds()
    .find(({ name, numbered }) => device === name || (numbered && String(device).replace(/:\d+$/, '') === name))
}

/** Checks the option `device`. @throws WbsrError WBSR_INVALID_OPTION */
export function checkDevice(value: unknown): DeviceOption {
  if (value === 'auto' || (typeof value === 'string' && kindOf(value))) return value as DeviceOption
  const names = native
    .deviceKinds()
    .reverse()
    .flatMap(({ name, numbered }) => (numbered ? [name, `${name}:N`] : [name]))
  throw invalidOption('device', `one of ${['auto', ...names].map((name) => `'${name}'`).join(', ')}`, value)
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkDeviceOptions(options: Partial<Record<(typeof DEVICE_KEYS)[number], unknown>>): DeviceChoice {
  const device = checkDevice(options.device ?? 'auto')
  const threads =
    options.threads === undefined ? availableParallelism() : checkInteger(options.threads, 'threads', 1, 1024)
  const precision =
    options.precision === undefined ? undefined : checkChoice(options.precision, 'precision', PRECISIONS)
  const autotune = options.autotune === undefined ? undefined : checkInteger(options.autotune, 'autotune', 0, 64)
  const kind = kindOf(device)
  if (kind && precision !== undefined && !kind.precisions.includes(precision)) {
    const supported = kind.precisions.map((name) => `'${name}'`).join(', ')
    const why = kind.name === 'cpu' && precision === 'int8' ? " ('int8' needs a processor with AMX)" : ''
    throw invalidOption('precision', `${supported} or nothing with device '${device}'${why}`, precision)
  }
  if (kind && !kind.autotunes && autotune !== undefined)
    throw invalidOption('autotune', `nothing with device '${device}'`, autotune)
  return { device, threads, precision, autotune }
}

/** The device of that name. @throws WbsrError WBSR_NO_DEVICE saying what was tried and which devices exist */
function named(device: DeviceOption): { kind: DeviceKind; found: FoundDevice } {
  const kind = kindOf(device)!
  const { devices, reason } = native.findDevices(kind.name)
  const found = device === kind.name ? devices[0] : devices.find((other) => idOf(kind, other) === device)
  if (found) return { kind, found }
  const here = listDevices()
    .map(({ id, name }) => `'${id}' (${name})`)
    .join(', ')
  const why = devices.length === 0 ? reason : `there is no usable ${kind.label} device of that number`
  throw new WbsrError('WBSR_NO_DEVICE', `Device '${device}' cannot be used: ${why}. Devices here: ${here}`)
}

/** @throws WbsrError WBSR_NO_DEVICE: the device was given by name and cannot run here */
export function requireDevice(device: DeviceOption): void {
  if (device !== 'auto') named(device)
}

/** Failures after which `auto` tries the next kind of device. */
const FALLBACK_CODES: readonly unknown[] = [
  'WBSR_NO_DEVICE',
  'WBSR_DEVICE_FAILED',
  'WBSR_OUT_OF_MEMORY',
] satisfies WbsrErrorCode[]

/** @throws WbsrError WBSR_NO_DEVICE, WBSR_DEVICE_FAILED, WBSR_OUT_OF_MEMORY; WBSR_INVALID_OPTION: a graph that makes no sense */
export function createEngine(
  network: Network,
  { device, threads, precision, autotune }: DeviceChoice,
): { engine: NativeEngine; fallbackReason: string | null } {
  const make = (kind: DeviceKind, { index }: FoundDevice) =>
    new native.Engine(network.graph, {
      threads,
      device: kind.name,
      index,
      // With 'auto' the options of a better kind do not apply to the one that it falls back to.
      ...(precision !== undefined && kind.precisions.includes(precision) ? { precision } : {}),
      ...(autotune !== undefined && kind.autotunes ? { autotune } : {}),
    })
  const automatic = () => {
    const kinds = native.deviceKinds()
    let fallbackReason: string | null = null
    for (const kind of kinds) {
      const { devices, reason } = native.findDevices(kind.name)
      const [first] = devices
      if (!first) {
        fallbackReason ??= reason
        continue
      }
      try {
        return { engine: make(kind, first), fallbackReason }
      } catch (error) {
        const { code, message } = error as { code?: unknown; message: string }
        if (kind === kinds.at(-1) || !FALLBACK_CODES.includes(code)) throw error
        fallbackReason ??= `${idOf(kind, first)} (${first.name}) cannot take the network ${network.name}: ${message}`
      }
    }
    throw new WbsrError('WBSR_NO_DEVICE', fallbackReason ?? 'this build has no kind of device')
  }
  try {
    if (device === 'auto') return automatic()
    const { kind, found } = named(device)
    return { engine: make(kind, found), fallbackReason: null }
  } catch (error) {
    throw wrapError(error, 'WBSR_INTERNAL', `Could not build the network ${network.name}`)
  }
}
